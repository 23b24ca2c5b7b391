/// The operating system that an image is made of (os-release(5)).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OperatingSystem {
    /// `debian`.
    pub id: String,
    /// `12`; empty where it has none.
    pub version: String,
    /// For people.
    pub name: String,
}

impl OperatingSystem {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let value = text.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
            let unquoted = value.unwrap_or_default().trim().trim_matches(['"', '\'']);
            unquoted.chars().filter(|character| !character.is_control()).take(200).collect::<String>()
        };
        let id = value("ID").to_ascii_lowercase();
        let name = Some(value("PRETTY_NAME")).filter(|name| !name.is_empty()).unwrap_or_else(|| id.clone());
        (!id.is_empty()).then(|| Self { id, version: value("VERSION_ID"), name })
    }
}
