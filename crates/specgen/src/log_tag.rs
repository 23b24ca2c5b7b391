//! The `tag` of a container's log lines: text with fields in Docker's form, `{{.Name}}/{{.ID}}`.

/// What a tag may name of its container.
pub const FIELDS: [&str; 12] = [
    "ID",
    "FullID",
    "Name",
    "ImageID",
    "ImageFullID",
    "ImageName",
    "Command",
    "DaemonName",
    "ContainerID",
    "ContainerName",
    "ContainerImageID",
    "ContainerImageName",
];

/// The tag with every field replaced by what `value` says of it.
///
/// # Errors
/// What stands between braces and is no field of [`FIELDS`].
pub fn render(template: &str, value: impl Fn(&str) -> String) -> Result<String, String> {
    let (mut text, mut rest) = (String::new(), template);
    while let Some((before, behind)) = rest.split_once("{{") {
        text.push_str(before);
        let (expression, after) = behind.split_once("}}").ok_or_else(|| format!("{{{{{behind}"))?;
        let field = expression.trim().strip_prefix('.').filter(|field| FIELDS.contains(field));
        text.push_str(&value(field.ok_or_else(|| format!("{{{{{expression}}}}}"))?));
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_replaced_and_nothing_else_is_known() {
        let tag = |template| render(template, |field| format!("<{field}>"));
        assert_eq!(tag("{{.ImageName}}/{{ .Name }} }}").unwrap(), "<ImageName>/<Name> }}");
        assert_eq!(tag("").unwrap(), "");
        for wrong in ["{{", "{{.Name", "{{Name}}", "{{.Nobody}}", "{{upper .Name}}"] {
            assert_eq!(tag(wrong).unwrap_err(), wrong);
        }
    }
}
