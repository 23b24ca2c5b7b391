//! Diagnostic codes of this crate.

use carrack_diag::Code;

/// A digest that is not `sha256:` and 64 hex digits.
pub static INVALID_DIGEST: Code = Code {
    id: "oci/invalid-digest",
    title: "malformed digest",
    cause: "A digest is an algorithm, a colon and its hexadecimal value; carrack stores sha256.",
    check: "Compare the text with `sha256:` followed by 64 lower-case hexadecimal digits.",
    fix: "Copy the digest from `carrack images --digests` or from the registry.",
};

/// An image reference that the grammar of the distribution specification does not allow.
pub static INVALID_REFERENCE: Code = Code {
    id: "oci/invalid-reference",
    title: "malformed image reference",
    cause: "A reference is [HOST[:PORT]/]PATH[:TAG][@DIGEST]. Path components are lower case, with single separators \
            `.`, `_`, `__` or dashes between letters and digits; a tag has at most 128 characters.",
    check: "Look for capitals in the repository, a trailing colon, a variable that expanded to nothing.",
    fix: "Write the reference in lower case and complete, for example `registry.example:5000/team/web:1.4.2`.",
};

/// A platform that is not OS/ARCH[/VARIANT].
pub static INVALID_PLATFORM: Code = Code {
    id: "oci/invalid-platform",
    title: "malformed platform",
    cause: "A platform is OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/amd64 or linux/arm/v7.",
    check: "Read the value of --platform or `platform:`.",
    fix: "Write one of linux/amd64, linux/arm64, linux/arm/v7, …",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[&INVALID_DIGEST, &INVALID_PLATFORM, &INVALID_REFERENCE];
