/// Whether a text is the name of a device in the Container Device Interface (`SPEC.md` of CDI): `vendor.com/class=name`.
pub fn is_device_name(text: &str) -> bool {
    let of = |text: &str, first: fn(&u8) -> bool, further: &[u8]| {
        let bytes = text.as_bytes();
        bytes.first().is_some_and(first)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || further.contains(byte))
    };
    let parts = text.split_once('=').and_then(|(kind, name)| Some((kind.split_once('/')?, name)));
    parts.is_some_and(|((vendor, class), name)| {
        of(vendor, u8::is_ascii_alphabetic, b"_-.")
            && of(class, u8::is_ascii_alphabetic, b"_-")
            && of(name, u8::is_ascii_alphanumeric, b"_-.:")
    })
}

#[cfg(test)]
mod tests {
    use super::is_device_name;

    #[test]
    fn a_name_has_a_vendor_a_class_and_a_device() {
        for name in ["nvidia.com/gpu=all", "a/b=0", "vendor.example/class-1=GPU-1f:0.2"] {
            assert!(is_device_name(name), "{name}");
        }
        for wrong in
            ["", "/dev/fuse", "/dev/a=b", "a=b", "a/b", "a/b=", "/b=c", "a/=c", "1/b=c", "a/b/c=d", "a/b=c-", "a b/c=d"]
        {
            assert!(!is_device_name(wrong), "{wrong}");
        }
    }
}
