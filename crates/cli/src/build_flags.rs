//! Flags of `build`: what the steps of a build get, and what is told of its result.

use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::build::{BuildRequest, BuildResult, Mode, ProvenanceRequest, Secrets, StepNetwork};
use carrack_oci::Reference;
use serde_json::json;

use crate::arguments::{BuildArguments, BuildMoreArguments, DockerBuildArguments, Switch};
use crate::commands::{buildx, current_folder};
use crate::{cache_flags, codes, docker, flags};

/// As in BuildKit.
const SECRET_LIMIT_BYTES: u64 = 500 << 10;

/// What of a request is said by flags and not by the Dockerfile.
pub(crate) fn apply(request: &mut BuildRequest, arguments: &BuildArguments) -> Result<()> {
    let more = &arguments.more;
    request.network = network("--network", arguments.network.as_deref().unwrap_or_default())?;
    cache_flags::apply(request, &more.cache_from, &more.cache_to, &current_folder())?;
    cache_flags::inline(request)?;
    attest(request, more)?;
    request.no_cache_stages.clone_from(&more.no_cache_filter);
    for text in &more.add_host {
        request.settings.hosts.push(flags::add_host(text)?);
    }
    let size =
        |flag: &str, text: &Option<String>| text.as_deref().map(|text| flags::size_bytes(flag, text)).transpose();
    request.settings.shm_size_bytes = size("--shm-size", &more.shm_size)?;
    for text in &more.ulimit {
        let (name, limit) = flags::ulimit(text)?;
        request.settings.ulimits.insert(name, (limit.soft, limit.hard));
    }
    request.resources.memory_bytes = size("--memory", &more.memory)?;
    request.resources.memory_swap_bytes = match more.memory_swap.as_deref() {
        Some("-1") => Some(-1),
        Some(text) => i64::try_from(flags::size_bytes("--memory-swap", text)?).ok(),
        None => None,
    };
    request.resources.nano_cpus = more.cpu_quota.map(|quota| quota.saturating_mul(1_000_000_000) / more.cpu_period);
    request.resources.cpu_shares = more.cpu_shares;
    request.resources.cpuset_cpus.clone_from(&more.cpuset_cpus);
    request.resources.cpuset_mems.clone_from(&more.cpuset_mems);
    request.cgroup_parent.clone_from(&more.cgroup_parent);
    for text in &more.annotation {
        let (key, value) = annotation(text)?;
        request.annotations.insert(key, value);
    }
    request.secrets.extend(secrets(&more.secret)?);
    Ok(())
}

/// The contents of `--secret`, by id.
pub(crate) fn secrets(texts: &[String]) -> Result<Secrets> {
    texts.iter().map(|text| secret(text)).collect()
}

/// What `--attest`, `--sbom` and `--provenance` ask for; without any, the least provenance, as in Docker, where
/// BUILDX_NO_DEFAULT_ATTESTATIONS does not say otherwise.
fn attest(request: &mut BuildRequest, arguments: &BuildMoreArguments) -> Result<()> {
    attest_by_default(request);
    for text in &arguments.attest {
        attestation(request, text)?;
    }
    for (kind, value) in [("sbom", &arguments.sbom), ("provenance", &arguments.provenance)] {
        value.as_ref().map_or(Ok(()), |value| short_attestation(request, kind, value))?;
    }
    Ok(())
}

/// Docker takes the value of these flags as a word of its own too, which here is a context or a service.
pub(crate) fn attest_values(arguments: &BuildArguments) -> Result<()> {
    let more = &arguments.more;
    let is_value = |word: &&String| matches!(word.as_str(), "true" | "false") || word.starts_with("mode=");
    for (flag, value) in [("--sbom", &more.sbom), ("--provenance", &more.provenance)] {
        if let (Some(_), Some(word)) = (value, arguments.context.iter().find(is_value)) {
            return Err(flags::invalid(flag, word, &format!("its value behind an `=`: {flag}={word}")));
        }
    }
    Ok(())
}

/// `true`, `false`, or what else belongs to an attestation of this type.
pub(crate) fn short_attestation(request: &mut BuildRequest, kind: &str, value: &str) -> Result<()> {
    attestation(
        request,
        &match value {
            "true" | "1" => format!("type={kind}"),
            "false" | "0" => format!("type={kind},disabled=true"),
            more => format!("type={kind},{more}"),
        },
    )
}

/// The least that is said of an image that somebody builds.
pub(crate) fn attest_by_default(request: &mut BuildRequest) {
    let is_off =
        std::env::var("BUILDX_NO_DEFAULT_ATTESTATIONS").is_ok_and(|value| matches!(value.as_str(), "1" | "true"));
    request.attestations.provenance = (!is_off).then(ProvenanceRequest::default);
    if let Some(context) = request.context.as_ref().filter(|_| request.attestations.context.is_none()) {
        request.attestations.vcs = crate::vcs::of(context);
    }
}

/// `type=sbom|provenance` with what belongs to it.
fn attestation(request: &mut BuildRequest, text: &str) -> Result<()> {
    let wrong = |form: &str| flags::invalid("--attest", text, form);
    let (mut kind, mut is_off, mut provenance) =
        (None, false, ProvenanceRequest { is_asked: true, ..Default::default() });
    let mut is_of_provenance = false;
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| wrong("type=sbom or type=provenance,mode=min|max"))?;
        let yes = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong("true or false")),
        };
        is_of_provenance |= matches!(key, "mode" | "builder-id" | "reproducible" | "version");
        match key {
            "type" => kind = Some(value),
            "disabled" => is_off = yes()?,
            "mode" => {
                provenance.mode = match value {
                    "min" => Mode::Min,
                    "max" => Mode::Max,
                    _ => return Err(wrong("mode=min or mode=max")),
                };
            }
            "builder-id" => provenance.builder_id = value.to_owned(),
            "reproducible" => provenance.is_reproducible = yes()?,
            "version" if value == "v1" => {}
            "version" => return Err(wrong("version=v1")),
            "generator" => {
                return Err(not_yet(
                    &format!("build --attest with `{part}`"),
                    "leave it out: packages are found without one",
                ));
            }
            _ => return Err(wrong("type=, mode=, builder-id=, reproducible=, disabled=")),
        }
    }
    match kind {
        Some("sbom") if is_of_provenance => return Err(wrong("type=sbom, and what belongs to a provenance with that")),
        Some("sbom") => request.attestations.sbom = !is_off,
        Some("provenance") => request.attestations.provenance = (!is_off).then_some(provenance),
        _ => return Err(wrong("type=sbom or type=provenance")),
    }
    Ok(())
}

/// Docker's flags that ask for something that is not so here.
pub(crate) fn refuse(arguments: &DockerBuildArguments) -> Result<()> {
    if let Some(name) = &arguments.builder {
        buildx::known(name)?;
    }
    if arguments.rm == Switch::False {
        let hint = "leave it out; to look at what a step leaves, build with --debug=STEP";
        return Err(flags::invalid("--rm", "false", hint));
    }
    if let Some(kind) = arguments.isolation.as_ref().filter(|kind| !matches!(kind.as_str(), "" | "default")) {
        return Err(flags::invalid("--isolation", kind, "default: the others are Windows'"));
    }
    let refused = [
        ("--squash", "squash", arguments.squash, "copy the result into a last stage: `COPY --from=STAGE / /`"),
        (
            "--security-opt",
            "windows",
            !arguments.security_opt.is_empty(),
            "--allow security.insecure with RUN --security=insecure gives a step every privilege",
        ),
    ];
    match refused.into_iter().find(|(_, _, is_asked, _)| *is_asked) {
        Some((flag, reason, _, hint)) => Err(Diagnostic::error(&codes::REFUSED, format!("`build {flag}` is refused"))
            .cause(docker::reason(reason))
            .hint(hint)
            .boxed()),
        None => Ok(()),
    }
}

/// How the steps are connected that do not say it themselves.
pub(crate) fn network(flag: &str, text: &str) -> Result<StepNetwork> {
    match text {
        "default" | "bridge" | "" => Ok(StepNetwork::Default),
        "none" => Ok(StepNetwork::None),
        "host" => Ok(StepNetwork::Host),
        other => Err(flags::invalid(flag, other, "default, none or host")),
    }
}

/// A right that the Dockerfile may ask for.
pub(crate) fn allow(request: &mut BuildRequest, entitlement: &str) -> Result<()> {
    match entitlement {
        "security.insecure" => request.allows_insecure = true,
        "network.host" => request.allows_host_network = true,
        other => return Err(flags::invalid("--allow", other, "security.insecure or network.host")),
    }
    Ok(())
}

fn not_yet(what: &str, hint: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::NOT_YET, format!("{what} is not there yet")).hint(hint).boxed()
}

/// `[manifest:]KEY=VALUE`.
fn annotation(text: &str) -> Result<(String, String)> {
    let wrong = || flags::invalid("--annotation", text, "KEY=VALUE");
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let key = match key.split_once(':') {
        None => key,
        Some(("manifest", key)) => key,
        Some((kind @ ("index" | "manifest-descriptor" | "index-descriptor"), _)) => {
            return Err(not_yet(&format!("build --annotation {kind}:"), "without it, the manifest is annotated"));
        }
        Some(_) => return Err(wrong()),
    };
    if key.is_empty() { Err(wrong()) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// `id=NAME[,type=file|env][,src=FILE|,env=VARIABLE]`; without a source, the variable of that name, else the file, as in
/// Docker.
fn secret(text: &str) -> Result<(String, Vec<u8>)> {
    let wrong = || flags::invalid("--secret", text, "id=NAME,src=FILE or id=NAME,env=VARIABLE");
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(wrong)?;
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if matches!(value, "file" | "env") => kind = Some(value),
            _ => return Err(wrong()),
        }
    }
    // A bare source of the kind env names a variable.
    if kind == Some("env") && variable.is_none() {
        variable = file.take();
    }
    let id = id.filter(|id| !id.is_empty()).or(file).or(variable).ok_or_else(wrong)?;
    if file.is_none() && variable.is_none() {
        match std::env::var_os(id) {
            Some(_) if kind != Some("file") => variable = Some(id),
            _ => file = Some(id),
        }
    }
    if let Some(name) = variable {
        let value = std::env::var_os(name)
            .ok_or_else(|| flags::invalid("--secret", text, &format!("a variable that is set: {name} is not")))?;
        return Ok((id.to_owned(), std::os::unix::ffi::OsStringExt::into_vec(value)));
    }
    Ok((id.to_owned(), secret_file(id, Path::new(file.unwrap_or(id)))?))
}

/// The content of a secret's file.
pub(crate) fn secret_file(id: &str, path: &Path) -> Result<Vec<u8>> {
    let unreadable = |reason: String| {
        Diagnostic::error(&codes::UNREADABLE_FILE, format!("can't read the secret `{id}` from {}", path.display()))
            .cause(reason)
            .hint("name another file with src=, or a variable with env=")
            .boxed()
    };
    let read = || -> std::io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(SECRET_LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(unreadable(format!("it is larger than {SECRET_LIMIT_BYTES} bytes")));
    }
    Ok(bytes)
}

/// What `docker buildx build --metadata-file` writes.
pub(crate) fn metadata(built: &BuildResult) -> serde_json::Value {
    let names: Vec<String> = built.image.names.iter().map(Reference::to_string).collect();
    let mut metadata = json!({
        "containerimage.config.digest": built.image.id,
        "containerimage.descriptor": built.image.manifest,
        "containerimage.digest": built.image.manifest.digest,
    });
    if !names.is_empty() {
        metadata["image.name"] = names.join(",").into();
    }
    metadata
}

/// `SOURCE_DATE_EPOCH`, from the build arguments or the caller's environment, which a build gets as an argument then.
pub(crate) fn epoch(request: &mut BuildRequest) -> Result<()> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let own = || std::env::var(NAME).ok().filter(|value| !value.is_empty());
    let Some(text) = request.build_args.get(NAME).cloned().or_else(own) else { return Ok(()) };
    let seconds = text.parse::<i64>().ok().filter(|seconds| jiff::Timestamp::from_second(*seconds).is_ok());
    request.epoch = Some(seconds.ok_or_else(|| flags::invalid(NAME, &text, "seconds since 1970"))?);
    request.build_args.insert(NAME.to_owned(), text);
    Ok(())
}
