//! Where an answer points to (RFC 9110 §10.2.2).

/// The address that a `Location` means.
pub fn absolute(url: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    let scheme_end = url.find("://")? + 3;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{}{rest}", &url[..scheme_end]));
    }
    let host_end = url[scheme_end..].find(['/', '?']).map_or(url.len(), |at| scheme_end + at);
    if location.starts_with('/') {
        return Some(format!("{}{location}", &url[..host_end]));
    }
    if location.starts_with('?') {
        return Some(format!("{}{location}", url.split('?').next()?));
    }
    let path = url.split('?').next()?;
    let folder = path.rfind('/').filter(|at| *at >= host_end).map_or(path, |at| &path[..at]);
    Some(format!("{folder}/{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_taken_relative_to_where_it_came_from() {
        let url = "http://h:5000/v2/a/blobs/uploads/?x=1";
        for (location, expected) in [
            ("https://o/x", "https://o/x"),
            ("//o/x", "http://o/x"),
            ("/v2/y?z=1", "http://h:5000/v2/y?z=1"),
            ("?z=1", "http://h:5000/v2/a/blobs/uploads/?z=1"),
            ("id", "http://h:5000/v2/a/blobs/uploads/id"),
        ] {
            assert_eq!(absolute(url, location).as_deref(), Some(expected));
        }
    }
}
