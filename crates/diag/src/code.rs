/// A class of diagnostic with everything that `carrack explain ID` prints about it.
///
/// Codes are statics of the crate that reports them, so a diagnostic without an entry cannot be written.
#[derive(Debug)]
pub struct Code {
    /// Stable identifier, `area/kebab-name`. Never reused for another meaning.
    pub id: &'static str,
    /// One line, without a full stop.
    pub title: &'static str,
    /// What makes this happen.
    pub cause: &'static str,
    /// How to find out which cause it is here.
    pub check: &'static str,
    /// What to change.
    pub fix: &'static str,
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Code {}
