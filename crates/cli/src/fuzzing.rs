//! The ways of `fuzz/` to what reads hostile bytes. Not in any product.

use serde_json::json;

/// A template of Go, over what a list shows and what an inspection does.
pub fn template(text: &str) {
    let data = json!({
        "Names": "web", "ID": "d7619cc2b3ec", "State": { "Pid": 7, "Running": true, "a/b.c": { "d": [1, 2] } },
        "Config": { "Labels": { "a": "b" }, "Env": ["A=1", "B=2"], "Cmd": null }, "Empty": [], "Float": 1.5,
    });
    let _ = crate::template::render(text, &data);
    let _ = crate::template::rows(text, &[data], &[("Names", "NAMES")]);
}

/// A line of `--env-file` and `--label-file`.
pub fn env_line(text: &str) {
    let _ = crate::flags::env(text);
}
