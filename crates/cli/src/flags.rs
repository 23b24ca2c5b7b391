//! Values of Docker's flags: sizes, durations, ports, devices, limits.
//!
//! Each parser takes the text of one flag and answers with the value, or with a diagnostic that names flag, value and form.

use std::net::IpAddr;

use carrack_diag::{Diagnostic, Result};
use carrack_specgen::container::{
    DeviceLimit, DeviceMapping, LogConfig, LogDriver, PortMapping, Protocol, RestartPolicy, Ulimit,
};

use crate::codes;

/// The diagnostic of a malformed value.
pub(crate) fn invalid(flag: &str, value: &str, form: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::INVALID_VALUE, format!("{flag}: `{value}` is malformed"))
        .hint(format!("write {form}"))
        .boxed()
}

/// `512m`, `1.5g`, `1024`, `64kb`, `1GiB`: bytes, by powers of 1024 as Docker's flags count.
pub(crate) fn size_bytes(flag: &str, text: &str) -> Result<u64> {
    let wrong = || invalid(flag, text, "a number with an optional unit b, k, m, g or t, for example 512m");
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    let value = number.parse::<f64>().map_err(|_| wrong())? * f64::from(2u32).powi(shift);
    if value.is_finite() && value < 9.0e18 { Ok(value as u64) } else { Err(wrong()) }
}

/// `400MB`, `1.5GiB`, `1024`: bytes as they are printed, so that kB, MB and GB are powers of 1000 and KiB, MiB and GiB of 1024.
pub(crate) fn printed_size_bytes(flag: &str, text: &str) -> Result<u64> {
    let wrong = || invalid(flag, text, "a number with an optional unit kB, MB, GB, KiB, MiB or GiB, for example 400MB");
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let unit = unit.trim().strip_suffix('b').unwrap_or(unit.trim());
    let (unit, base) = unit.strip_suffix('i').map_or((unit, 1000.0_f64), |unit| (unit, 1024.0));
    let power = ["", "k", "m", "g", "t"].iter().position(|known| *known == unit).ok_or_else(wrong)?;
    let value = number.parse::<f64>().map_err(|_| wrong())? * base.powi(i32::try_from(power).map_err(|_| wrong())?);
    if value < 9.0e18 { Ok(value as u64) } else { Err(wrong()) }
}

/// `1m30s`, `500ms`, `1.5h`: nanoseconds, in Go's notation.
pub(crate) fn duration_ns(flag: &str, text: &str) -> Result<u64> {
    let wrong = || invalid(flag, text, "a duration such as 30s, 500ms or 1m30s");
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 6e10,
                "h" => 3.6e12,
                _ => return Err(wrong()),
            };
        rest = &rest[letters..];
    }
    if total < 9.0e18 { Ok(total as u64) } else { Err(wrong()) }
}

/// A time of day with or without its zone, a date, seconds since 1970, or how long ago.
pub(crate) fn time(flag: &str, text: &str, now: jiff::Timestamp) -> Result<jiff::Timestamp> {
    let wrong =
        || invalid(flag, text, "a time such as 2026-01-31T08:00:00Z, seconds since 1970, or how long ago, as 10m30s");
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    // Without a zone, the caller's.
    if let Ok(local) = text.parse::<jiff::civil::DateTime>() {
        return local.to_zoned(jiff::tz::TimeZone::system()).map(|time| time.timestamp()).map_err(|_| wrong());
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let nanoseconds = (seconds * 1e9).round();
        return jiff::Timestamp::from_nanosecond(nanoseconds as i128).map_err(|_| wrong());
    }
    let ago = duration_ns(flag, text).map_err(|_| wrong())?;
    now.checked_sub(std::time::Duration::from_nanos(ago)).map_err(|_| wrong())
}

/// `1.5` processors, in billionths.
pub(crate) fn nano_cpus(flag: &str, text: &str) -> Result<u64> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.0..1e6).contains(&cpus) => Ok((cpus * 1e9).round() as u64),
        _ => Err(invalid(flag, text, "a number of processors such as 1.5")),
    }
}

/// `[[ADDRESS:]HOST_PORT:]CONTAINER_PORT[/PROTOCOL]`, ranges of equal length allowed.
pub(crate) fn ports(text: &str) -> Result<Vec<PortMapping>> {
    const FORM: &str = "[[ADDRESS:]HOST_PORT:]CONTAINER_PORT[/tcp|/udp], for example 127.0.0.1:8080:80";
    let wrong = || invalid("--publish", text, FORM);
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, "tcp")) => (rest, Protocol::Tcp),
        Some((rest, "udp")) => (rest, Protocol::Udp),
        Some(_) => return Err(wrong()),
        None => (text, Protocol::Tcp),
    };
    let (rest, container) = match rest.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, rest),
    };
    let (address, host) = match rest {
        None => (None, None),
        Some(rest) => match rest.rsplit_once(':') {
            // `[::1]:8080:80` and `::1:8080:80` both end in a host port.
            Some((address, host)) => (Some(address), Some(host)),
            None if rest.contains('.') => (Some(rest), None),
            None => (None, Some(rest)),
        },
    };
    let address = match address {
        None | Some("") => None,
        Some(address) => {
            let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            Some(bare.parse::<IpAddr>().map_err(|_| wrong())?)
        }
    };
    let range = |text: &str| -> Result<(u16, u16)> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first: u16 = first.parse().map_err(|_| wrong())?;
        let last: u16 = last.parse().map_err(|_| wrong())?;
        if first == 0 || last < first { Err(wrong()) } else { Ok((first, last)) }
    };
    let (first, last) = range(container)?;
    let host = match host {
        None | Some("" | "0") => None,
        Some(host) => Some(range(host)?),
    };
    if host.is_some_and(|(host_first, host_last)| host_last - host_first != last - first) {
        return Err(invalid("--publish", text, "ranges of equal length on both sides"));
    }
    Ok((first..=last)
        .map(|container_port| PortMapping {
            host_address: address,
            host_port: host.map(|(host_first, _)| host_first + (container_port - first)),
            container_port,
            protocol,
        })
        .collect())
}

/// A port that is exposed, as it was written.
pub(crate) fn expose(text: &str) -> Result<String> {
    match PortMapping::of_exposed(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(invalid("--expose", text, "PORT[-PORT][/tcp|/udp], for example 53/udp")),
    }
}

/// Seconds in milliseconds; less than none is for ever, as in Docker.
pub(crate) fn seconds_ms(seconds: i64) -> u64 {
    u64::try_from(seconds).map_or(u64::MAX, |seconds| seconds.saturating_mul(1000))
}

/// `no`, `always`, `unless-stopped`, `on-failure[:N]`.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy> {
    Ok(match text.split_once(':') {
        None => match text {
            "no" | "" => RestartPolicy::No,
            "always" => RestartPolicy::Always,
            "unless-stopped" => RestartPolicy::UnlessStopped,
            "on-failure" => RestartPolicy::OnFailure { max_retries: None },
            _ => return Err(invalid("--restart", text, "no, always, unless-stopped or on-failure[:N]")),
        },
        Some(("on-failure", number)) => RestartPolicy::OnFailure {
            max_retries: Some(number.parse().map_err(|_| invalid("--restart", text, "on-failure:N"))?),
        },
        Some(_) => return Err(invalid("--restart", text, "no, always, unless-stopped or on-failure[:N]")),
    })
}

/// `nofile=1024[:2048]`
pub(crate) fn ulimit(text: &str) -> Result<(String, Ulimit)> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let wrong = || invalid("--ulimit", text, "NAME=SOFT[:HARD], for example nofile=1024:2048");
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    if !NAMES.contains(&name) {
        return Err(wrong());
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        _ => text.parse::<i64>().ok().filter(|number| *number >= -1).ok_or_else(wrong),
    };
    let limit = Ulimit { soft: number(soft)?, hard: number(hard)? };
    if limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard) {
        return Err(invalid("--ulimit", text, "a soft limit no higher than the hard one"));
    }
    Ok((name.to_owned(), limit))
}

/// `/dev/SOURCE[:/dev/TARGET][:rwm]`
pub(crate) fn device(text: &str) -> Result<DeviceMapping> {
    let wrong = || invalid("--device", text, "/dev/SOURCE[:/dev/TARGET][:rwm], or VENDOR.COM/CLASS=NAME");
    let access = |text: &str| !text.is_empty() && text.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, rights) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, rights] if access(rights) => (*source, *source, *rights),
        [source, target] => (*source, *target, "rwm"),
        [source, target, rights] if access(rights) => (*source, *target, *rights),
        _ => return Err(wrong()),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err(wrong());
    }
    Ok(DeviceMapping { source: source.to_owned(), target: target.to_owned(), access: rights.to_owned() })
}

/// `NAME[:ALIAS]`, the alias being the name where there is none.
pub(crate) fn link(text: &str) -> Result<(String, String)> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    if name.is_empty() || alias.is_empty() || alias.contains(|c: char| c == ':' || c.is_whitespace()) {
        return Err(invalid("--link", text, "NAME or NAME:ALIAS"));
    }
    Ok((name.to_owned(), alias.to_owned()))
}

/// `02:42:ac:11:00:02`
pub(crate) fn mac(text: &str) -> Result<String> {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    let is_octet = |octet: &&str| octet.len() == 2 && u8::from_str_radix(octet, 16).is_ok();
    if octets.len() != 6 || !octets.iter().all(is_octet) {
        return Err(invalid("--mac-address", text, "six pairs of hexadecimal digits as 02:42:ac:11:00:02"));
    }
    Ok(octets.join(":").to_lowercase())
}

/// `/dev/DEVICE:VALUE`
pub(crate) fn device_limit(flag: &str, text: &str, value: impl Fn(&str, &str) -> Result<u64>) -> Result<DeviceLimit> {
    let (device, limit) = text
        .rsplit_once(':')
        .filter(|(device, _)| device.starts_with('/'))
        .ok_or_else(|| invalid(flag, text, "/dev/DEVICE:VALUE, for example /dev/sda:1m"))?;
    Ok(DeviceLimit { device: device.to_owned(), value: value(flag, limit)? })
}

/// `--log-driver` and `--log-opt`.
pub(crate) fn log(driver: Option<&str>, options: &[String]) -> Result<LogConfig> {
    let driver = match driver {
        None | Some("" | "json-file") => LogDriver::JsonFile,
        Some("local") => LogDriver::Local,
        Some("none") => LogDriver::None,
        Some(other) => return Err(other_log_driver(other)),
    };
    let mut log = LogConfig { driver, ..LogConfig::default() };
    if let (LogDriver::None, Some(option)) = (driver, options.first()) {
        return Err(invalid("--log-opt", option, "none: the driver none keeps nothing"));
    }
    let (mut blocks, mut buffer_bytes) = (true, None);
    let names = |list: &str| list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    for option in options {
        let Some((name, value)) = option.split_once('=') else {
            return Err(invalid("--log-opt", option, "NAME=VALUE"));
        };
        match (name, value) {
            ("max-size", "-1") => log.max_size_bytes = 0,
            ("max-size", value) => {
                let size = Some(size_bytes("--log-opt max-size", value)?).filter(|size| *size > 0);
                let more = || invalid("--log-opt max-size", value, "a size above 0, or -1 for no bound");
                log.max_size_bytes = size.ok_or_else(more)?;
            }
            ("max-file", value) => {
                let files = value.parse().ok().filter(|files| *files > 0);
                log.max_files = files.ok_or_else(|| invalid("--log-opt max-file", value, "a number from 1"))?;
            }
            ("labels", list) => log.labels = names(list),
            ("env", list) => log.env = names(list),
            ("labels-regex", pattern) => log.labels_regex = Some(pattern.to_owned()),
            ("env-regex", pattern) => log.env_regex = Some(pattern.to_owned()),
            ("tag", "") => log.tag = None,
            ("tag", tag) => log.tag = Some(tag.to_owned()),
            ("mode", mode @ ("blocking" | "non-blocking")) => blocks = mode == "blocking",
            ("mode", value) => return Err(invalid("--log-opt mode", value, "blocking or non-blocking")),
            ("max-buffer-size", value) => {
                buffer_bytes = Some(size_bytes("--log-opt max-buffer-size", value)?);
            }
            ("compress", is @ ("true" | "false")) => log.compress = is == "true",
            ("compress", value) => return Err(invalid("--log-opt compress", value, "true or false")),
            _ => {
                return Err(invalid(
                    "--log-opt",
                    option,
                    "max-size=SIZE, max-file=NUMBER, labels=LIST, labels-regex=PATTERN, env=LIST, env-regex=PATTERN, \
                     tag=TEXT, compress=true, mode=MODE or max-buffer-size=SIZE",
                ));
            }
        }
    }
    if log.compress && (log.max_files < 2 || log.max_size_bytes == 0) {
        return Err(invalid(
            "--log-opt",
            "compress=true",
            "a max-size and a max-file from 2 beside it: rotated files are what it compresses",
        ));
    }
    if !blocks {
        log.buffer_bytes = Some(buffer_bytes.unwrap_or(LogConfig::BUFFER_BYTES));
    } else if buffer_bytes.is_some() {
        return Err(invalid("--log-opt", "max-buffer-size", "mode=non-blocking beside it"));
    }
    Ok(log)
}

/// Docker's other drivers, each for what it is.
fn other_log_driver(name: &str) -> Box<Diagnostic> {
    let hint = "keep the log as `json-file`, and follow it into whatever collects it: `carrack logs -f NAME | …`";
    match name {
        "journald" | "syslog" => {
            Diagnostic::error(&codes::NOT_YET, format!("the log driver `{name}` is not there yet")).hint(hint).boxed()
        }
        "awslogs" | "etwlogs" | "fluentd" | "gcplogs" | "gelf" | "logentries" | "splunk" => {
            Diagnostic::error(&codes::USAGE, format!("the log driver `{name}` is refused"))
                .cause("nothing of carrack stays resident to hold lines for a service that is away")
                .hint(hint)
                .boxed()
        }
        other => invalid("--log-driver", other, "json-file, local or none"),
    }
}

/// `NAME=VALUE`, or `NAME` for the caller's own value (absent where the caller has none).
pub(crate) fn env(text: &str) -> Result<(String, Option<String>)> {
    match text.split_once('=') {
        Some(("", _)) | None if text.is_empty() || text.starts_with('=') => {
            Err(invalid("--env", text, "NAME=VALUE or NAME"))
        }
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Ok((text.to_owned(), std::env::var(text).ok())),
    }
}

/// `HOST:ADDRESS` or `HOST=ADDRESS`.
pub(crate) fn add_host(text: &str) -> Result<(String, String)> {
    let wrong = || invalid("--add-host", text, "HOST:ADDRESS, where ADDRESS may be host-gateway");
    let (host, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(wrong)?;
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if host.is_empty() || (bare != "host-gateway" && bare.parse::<IpAddr>().is_err()) {
        return Err(wrong());
    }
    Ok((host.to_owned(), bare.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_have_docker_s_forms() {
        let one = |text: &str| ports(text).unwrap().remove(0);
        assert_eq!(one("80").host_port, None);
        assert_eq!(one("8080:80/udp").protocol, Protocol::Udp);
        assert_eq!(one("127.0.0.1:8080:80").host_address, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(one("127.0.0.1::80").host_port, None);
        assert_eq!(one("[::1]:8080:80").host_address, Some("::1".parse().unwrap()));
        assert_eq!(ports("8000-8002:9000-9002").unwrap()[2].host_port, Some(8002));
        for wrong in ["", "x", "80/sctp", "1:2:3:4:80", "8000-8001:80", "0", "70000", "a:80", "80:"] {
            assert_eq!(ports(wrong).unwrap_err().code.id, "cli/invalid-value", "{wrong}");
        }
    }

    #[test]
    fn sizes_and_durations_are_docker_s() {
        assert_eq!(size_bytes("f", "1.5g").unwrap(), 1_610_612_736);
        assert_eq!(size_bytes("f", "64kb").unwrap(), 65_536);
        assert_eq!(duration_ns("f", "1m30s").unwrap(), 90_000_000_000);
        assert_eq!(duration_ns("f", "1.5ms").unwrap(), 1_500_000);
        assert!(duration_ns("f", "30").is_err(), "a bare number has no unit");
    }

    #[test]
    fn times_are_docker_s() {
        let now: jiff::Timestamp = "2026-01-31T08:00:00Z".parse().unwrap();
        let at = |text: &str| time("--since", text, now).unwrap().to_string();
        assert_eq!(at("2026-01-31T07:00:00.5+01:00"), "2026-01-31T06:00:00.5Z");
        assert_eq!(at("10m30s"), "2026-01-31T07:49:30Z");
        assert_eq!(at("1136073600.000000001"), "2006-01-01T00:00:00Z", "as far as a double counts");
        let local = "2026-01-31T00:00:00".parse::<jiff::civil::DateTime>().unwrap();
        let local = local.to_zoned(jiff::tz::TimeZone::system()).unwrap().timestamp().to_string();
        assert_eq!((at("2026-01-31"), at("2026-01-31T00:00:00")), (local.clone(), local));
        for wrong in ["", "yesterday", "1e300", "-1e300"] {
            assert_eq!(time("--since", wrong, now).unwrap_err().code.id, "cli/invalid-value", "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(text in "[\\PC:/=,.\\[\\]-]{0,40}") {
            let _ = (ports(&text), restart(&text), link(&text), mac(&text), device_limit("f", &text, size_bytes));
            let _ = (ulimit(&text), device(&text), size_bytes("f", &text), duration_ns("f", &text));
            let _ = (env(&text), add_host(&text), nano_cpus("f", &text), expose(&text));
            let _ = time("f", &text, jiff::Timestamp::now());
        }
    }
}
