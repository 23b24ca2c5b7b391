use std::os::unix::fs::PermissionsExt as _;

use crate::{Credential, CredentialFile};

fn password(user: &str, secret: &str) -> Option<Credential> {
    Some(Credential::Password { user: user.into(), secret: secret.into() })
}

#[test]
fn config_json_is_kept_as_docker_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, r#"{"psFormat":"x","auths":{"https://old.lan/v1/":{"auth":"YTpi"}},"zeta":{"b":1,"a":2}}"#)
        .unwrap();
    let file = CredentialFile::in_folder(dir.path());
    assert_eq!(file.get("old.lan").unwrap(), password("a", "b"));
    assert_eq!(file.get("new.lan:5000").unwrap(), None);
    assert!(file.store("new.lan:5000", "ann", "p:w").unwrap(), "it can be read there");
    assert!(file.store("docker.io", "hub", "x").unwrap());
    assert_eq!(file.get("new.lan:5000").unwrap(), password("ann", "p:w"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["psFormat"], "x");
    assert_eq!(read["zeta"].to_string(), r#"{"b":1,"a":2}"#, "in its order");
    assert!(read["auths"]["https://index.docker.io/v1/"].is_object(), "where docker looks for it");
    assert!(file.erase("old.lan").unwrap());
    assert!(!file.erase("old.lan").unwrap());
    assert_eq!(file.get("docker.io").unwrap(), password("hub", "x"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_damaged_file_is_named_and_its_text_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = CredentialFile::in_folder(dir.path());
    std::fs::write(file.path(), r#"{"auths":{"h.lan":{"auth":"s3cret!"}}"#).unwrap();
    let error = file.get("h.lan").unwrap_err();
    assert_eq!(error.code.id, "registry/settings");
    assert!(error.message.contains("config.json") && !format!("{error:?}").contains("s3cret"));
    assert!(file.store("h.lan", "a", "b").is_err(), "it is not overwritten");
    std::fs::write(file.path(), r#"{"auths":{"h.lan":{"auth":"s3cret!"}}}"#).unwrap();
    let error = file.get("h.lan").unwrap_err();
    assert!(!format!("{error:?}").contains("s3cret"));
}

#[test]
fn a_helper_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = CredentialFile::in_folder(dir.path());
    std::fs::write(file.path(), r#"{"credsStore":"none-such","credHelpers":{"h.lan":"../x","i.lan":""}}"#).unwrap();
    assert_eq!(file.get("g.lan").unwrap_err().code.id, "registry/credential-helper");
    assert_eq!(file.get("h.lan").unwrap_err().code.id, "registry/credential-helper");
    assert_eq!(file.get("i.lan").unwrap(), None, "an empty name is none");
}
