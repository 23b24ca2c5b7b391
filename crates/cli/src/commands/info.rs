//! `info`: this host and root, in Docker's words.

use serde_json::{Value, json};

use super::Session;
use crate::arguments::InfoArguments;
use crate::output::{Outcome, binary_size, exit, note};
use crate::template;

pub(crate) fn info(session: &Session, arguments: &InfoArguments) -> Outcome {
    let mut info = session.observer()?.info()?;
    for (field, variable) in [("HttpProxy", "HTTP_PROXY"), ("HttpsProxy", "HTTPS_PROXY"), ("NoProxy", "NO_PROXY")] {
        let set = [variable.to_owned(), variable.to_lowercase()].into_iter().find_map(|name| std::env::var(name).ok());
        info[field] = hide_password(&set.unwrap_or_default()).into();
    }
    info["ClientInfo"] = json!({
        "Debug": false,
        "Version": env!("CARGO_PKG_VERSION"),
        "Platform": { "Name": "carrack" },
        "Context": "default",
        "Plugins": [],
        "Warnings": null,
    });
    let text = match arguments.format.as_deref() {
        Some("json" | "{{json .}}") => format!("{info}\n"),
        Some(format) => format!("{}\n", template::render(format, &info)?),
        None => text(&info),
    };
    session.output.result("info", &info, |_| text);
    if !session.output.json && arguments.format.is_none() {
        for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            note(&format!("{warning}\n"));
        }
    }
    Ok(exit::DONE)
}

/// What is in an address for a proxy is nobody's who reads this.
fn hide_password(address: &str) -> String {
    match address.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        None => address.to_owned(),
    }
}

/// A line of a name alone.
const NO_VALUE: &str = "\0";

/// Docker's layout.
fn text(info: &Value) -> String {
    let mut text = String::new();
    let mut line = |indent: usize, name: &str, value: &str| {
        let value = if value == NO_VALUE { String::new() } else { format!(": {value}") };
        text.push_str(format!("{}{name}{value}", " ".repeat(indent)).trim_end());
        text.push('\n');
    };
    let word = |value: &Value| match value {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    };
    let words = |value: &Value| value.as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join(" ");
    line(0, "Client", "");
    line(1, "Version", &word(&info["ClientInfo"]["Version"]));
    line(1, "Context", &word(&info["ClientInfo"]["Context"]));
    line(1, "Debug Mode", "false");
    line(0, "\nServer", "");
    line(1, "Containers", &word(&info["Containers"]));
    for (name, field) in
        [("Running", "ContainersRunning"), ("Paused", "ContainersPaused"), ("Stopped", "ContainersStopped")]
    {
        line(2, name, &word(&info[field]));
    }
    line(1, "Images", &word(&info["Images"]));
    line(1, "Server Version", &word(&info["ServerVersion"]));
    line(1, "Storage Driver", &word(&info["Driver"]));
    for status in info["DriverStatus"].as_array().into_iter().flatten() {
        line(2, &word(&status[0]), &word(&status[1]));
    }
    for (name, field) in
        [("Logging Driver", "LoggingDriver"), ("Cgroup Driver", "CgroupDriver"), ("Cgroup Version", "CgroupVersion")]
    {
        line(1, name, &word(&info[field]));
    }
    line(1, "Plugins", "");
    for name in ["Volume", "Network", "Log"] {
        line(2, name, &words(&info["Plugins"][name]));
    }
    line(1, "Swarm", &word(&info["Swarm"]["LocalNodeState"]));
    let runtimes: Vec<&String> = info["Runtimes"].as_object().into_iter().flat_map(|map| map.keys()).collect();
    line(1, "Runtimes", &runtimes.into_iter().cloned().collect::<Vec<_>>().join(" "));
    line(1, "Default Runtime", &word(&info["DefaultRuntime"]));
    line(1, "Init Binary", &word(&info["InitBinary"]));
    line(1, "Security Options", "");
    for option in info["SecurityOptions"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let mut parts = option.split(',').map(|part| part.split_once('=').unwrap_or((part, "")));
        line(2, parts.next().map_or("", |(_, name)| name), NO_VALUE);
        for (key, value) in parts {
            line(3, &capitalized(key), value);
        }
    }
    for (name, field) in [
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ] {
        line(1, name, &word(&info[field]));
    }
    line(1, "Total Memory", &binary_size(info["MemTotal"].as_u64().unwrap_or(0)));
    for (name, field) in
        [("Name", "Name"), ("ID", "ID"), ("Docker Root Dir", "DockerRootDir"), ("Run Root Dir", "RunRootDir")]
    {
        line(1, name, &word(&info[field]));
    }
    line(1, "Debug Mode", "false");
    for (name, field) in [("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")] {
        if info[field] != "" {
            line(1, name, &word(&info[field]));
        }
    }
    line(1, "Experimental", "false");
    line(1, "Live Restore Enabled", "true");
    text
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_nobody_s() {
        assert_eq!(hide_password("http://me:secret@proxy:3128"), "http://xxxxx:xxxxx@proxy:3128");
        assert_eq!(hide_password("http://proxy:3128"), "http://proxy:3128");
    }
}
