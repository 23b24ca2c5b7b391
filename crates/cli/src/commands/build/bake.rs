//! `bake`: the targets of bake files and Compose files, all at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use carrack_bake::{Bake, Format, Listed, Override, Plan, Target};
use carrack_diag::{Diagnostic, SourceMap};
use carrack_engine::Engine;
use carrack_engine::build::{BuildRequest, BuildResult, DockerfileSource};
use carrack_oci::Platform;
use clap::Parser as _;
use serde_json::{Value, json};

use super::call::Call;
use super::outputs::Outputs;
use super::progress::Display;
use super::several::{self, Wanted};
use super::{Session, context, current_folder, debug, platforms, prepare, registry, result};
use crate::arguments::{BakeArguments, BuildArguments, BuildLine, ProjectArguments};
use crate::output::{Failure, Outcome, exit, table};
use crate::{build_flags, cache_flags, codes, container_flags, destination, flags, project};

/// Builds the targets that are asked for, those that others begin with first, and what several share once (D11).
pub(crate) fn bake(session: &Session, arguments: &BakeArguments) -> Outcome {
    if let Some(address) = arguments.targets.iter().find(|name| name.contains("://") || name.starts_with("git@")) {
        let message = format!("bake files behind an address are not there yet: {address}");
        let diagnostic = Diagnostic::error(&codes::NOT_YET, message);
        return Err(diagnostic.hint("clone the repository; contexts of targets may be addresses").into());
    }
    let mut sources = SourceMap::new();
    let bake = read(arguments, &mut sources)?;
    let failed = |diagnostic: Box<Diagnostic>| Failure::new(vec![*diagnostic], sources.clone());
    let given = variables(arguments)?;
    let seconds = jiff::Timestamp::now().as_second();
    let now = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string();
    let environment = |name: &str| match name {
        "BAKE_LOCAL_PLATFORM" => Some(Platform::host().to_string()),
        "BAKE_CMD_CONTEXT" => Some("cwd://".to_owned()),
        carrack_bake::NOW => Some(now.clone()),
        name => given.get(name).cloned().or_else(|| std::env::var(name).ok()),
    };
    // Docker takes what is listed as a word of its own too.
    let is_kind = |word: &str| matches!(word, "targets" | "variables") || word.starts_with("type=");
    let kind = match arguments.targets.as_slice() {
        [word] if is_kind(word) => arguments.list.as_ref().map(|_| word),
        _ => arguments.list.as_ref(),
    };
    if let Some(kind) = kind {
        return list(session, &bake, kind, &environment, &failed);
    }
    let plan = bake.resolve(&arguments.targets, &overrides(arguments)?, &environment).map_err(failed)?;
    if arguments.print {
        session.output.result("bake", &plan.to_json(), |plan| format!("{plan:#}\n"));
        return Ok(exit::DONE);
    }
    let display = Display::new(arguments.progress, false, session.output.json)?;
    let engine = session.engine()?;
    let builds = builds(&engine, &plan)?;
    if let Some(outcome) = calls(session, &engine, &builds, arguments)? {
        return Ok(outcome);
    }
    run(session, &engine, builds, arguments, &display)
}

/// Answers what is asked of the targets instead of building them; none where nothing is.
fn calls(
    session: &Session,
    engine: &Engine,
    builds: &[Build<'_>],
    arguments: &BakeArguments,
) -> Result<Option<u8>, Failure> {
    let mut outcome = None;
    for build in builds.iter().filter(|build| build.is_asked) {
        let call = arguments.call.as_deref().or(build.target.call().filter(|_| !arguments.check));
        if let Some(call) = Call::of(arguments.check, call)? {
            let code = call.answer(
                session,
                engine,
                &platforms::each(engine, (&build.request, &build.arguments), &build.platforms)?,
            )?;
            outcome = Some(outcome.unwrap_or(exit::DONE).max(code));
        }
    }
    Ok(outcome)
}

/// The files that are named, else those that are found.
fn read(arguments: &BakeArguments, sources: &mut SourceMap) -> Result<Bake, Failure> {
    let mut bake = Bake::default();
    let mut found = arguments.file.clone();
    if found.is_empty() {
        let folder = current_folder();
        let compose = carrack_compose::FILE_NAMES.iter().map(PathBuf::from).find(|name| folder.join(name).is_file());
        found.extend(compose);
        found
            .extend(carrack_bake::FILE_NAMES.map(PathBuf::from).into_iter().filter(|name| folder.join(name).is_file()));
    }
    if found.is_empty() {
        return Err(Diagnostic::error(&codes::NO_PROJECT, "there is no bake file here")
            .cause("looked for docker-bake.hcl, docker-bake.json and Compose files")
            .hint("change into the project's folder, or name the file with -f")
            .into());
    }
    let is_compose = |file: &Path| file.extension().is_some_and(|ending| ending == "yml" || ending == "yaml");
    let (compose, files): (Vec<PathBuf>, Vec<PathBuf>) = found.into_iter().partition(|file| is_compose(file));
    if !compose.is_empty() {
        let named = !arguments.file.is_empty();
        let file = if named { compose } else { Vec::new() };
        let loaded = project::load(&ProjectArguments { file, ..ProjectArguments::default() }, &[])?;
        bake.add_project(&loaded.project);
    }
    for file in files {
        let text = if file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin().lock()).map_err(|error| {
                Diagnostic::error(&codes::UNREADABLE_FILE, "can't read standard input").cause(error.to_string())
            })?
        } else {
            container_flags::read(&current_folder().join(&file))?
        };
        let is_json = file.extension().is_some_and(|ending| ending == "json") || text.trim_start().starts_with('{');
        let id = sources.add(file.display().to_string(), text);
        let format = if is_json { Format::Json } else { Format::Hcl };
        let parsed = carrack_bake::parse(id, sources.get(id), format);
        bake.add(parsed.map_err(|diagnostic| Failure::new(vec![*diagnostic], sources.clone()))?);
    }
    Ok(bake)
}

fn variables(arguments: &BakeArguments) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = arguments.var.iter().map(|text| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(flags::invalid("--var", text, "NAME=VALUE").into()),
    });
    pairs.collect()
}

/// `--set`, and the flags that set something of every target.
fn overrides(arguments: &BakeArguments) -> Result<Vec<Override>, Failure> {
    let flag = |is_set: bool, text: &str| is_set.then(|| text.to_owned());
    let flags = [
        flag(arguments.no_cache, "*.no-cache=true"),
        flag(arguments.pull, "*.pull=true"),
        flag(arguments.push, "*.push=true"),
        flag(arguments.load, "*.load=true"),
    ];
    let allowed = arguments.allow.iter().map(|right| format!("*.entitlements+={right}"));
    let texts = arguments.set.iter().cloned().chain(flags.into_iter().flatten()).chain(allowed);
    Ok(texts.map(|text| Override::parse(&text)).collect::<carrack_diag::Result<_>>()?)
}

fn list(
    session: &Session,
    bake: &Bake,
    kind: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    failed: &dyn Fn(Box<Diagnostic>) -> Failure,
) -> Outcome {
    let wrong = || flags::invalid("--list", kind, "targets or variables, or type=targets,format=json");
    let (mut what, mut is_json) = ("", false);
    for part in kind.split(',') {
        match part.strip_prefix("format=") {
            Some("json") => is_json = true,
            Some("table") => is_json = false,
            Some(_) => return Err(wrong().into()),
            None => what = part.strip_prefix("type=").unwrap_or(part),
        }
    }
    let (mut listed, header) = match what {
        "targets" => (bake.targets(environment).map_err(failed)?, ["TARGET", "TARGETS", "DESCRIPTION"]),
        "variables" => (bake.variables(environment).map_err(failed)?, ["VARIABLE", "VALUE", "DESCRIPTION"]),
        _ => return Err(wrong().into()),
    };
    // As in buildx: those are for others to inherit from.
    listed.retain(|one| what == "variables" || !one.name.starts_with('_'));
    let answer: Vec<Value> = listed
        .iter()
        .map(|one| json!({ "name": one.name, "value": one.value, "description": one.description }))
        .collect();
    let row = |one: &Listed| vec![one.name.clone(), one.value.clone(), one.description.clone()];
    session.output.result("bake", &answer, |_| match is_json {
        true => format!("{:#}\n", listed.iter().map(|one| docker_row(one, what)).collect::<Value>()),
        false => table(&header, &listed.iter().map(row).collect::<Vec<_>>()),
    });
    Ok(exit::DONE)
}

/// Buildx's keys: what is empty is left out, and a group is described by its targets.
fn docker_row(listed: &Listed, what: &str) -> Value {
    let mut row = json!({ "name": listed.name });
    let mut description = &listed.description;
    if what == "variables" {
        row["value"] = json!(listed.value);
    } else if !listed.value.is_empty() {
        row["group"] = json!(true);
        description = if description.is_empty() { &listed.value } else { description };
    }
    if !description.is_empty() {
        row["description"] = json!(description);
    }
    row
}

/// One target on its way.
struct Build<'a> {
    name: &'a str,
    target: &'a Target,
    is_asked: bool,
    request: BuildRequest,
    outputs: Outputs,
    /// None is this machine's.
    platforms: Vec<Platform>,
    /// As `build` is told what it is; none where it has no words for it.
    line: Option<Vec<String>>,
    arguments: BuildArguments,
}

fn builds<'a>(engine: &Engine, plan: &'a Plan) -> Result<Vec<Build<'a>>, Failure> {
    let mut builds = Vec::new();
    for (name, target) in &plan.targets {
        let is_asked = plan.asked.contains(name);
        builds.push(build(engine, name, target, is_asked).map_err(|failure| told(failure, name))?);
    }
    // Who is only built for others is built for what they are for.
    for _ in 0..builds.len() {
        for index in 0..builds.len() {
            let (links, platforms) = (builds[index].target.links(), builds[index].platforms.clone());
            let linked: Vec<&str> = links.map(|(_, name)| name).collect();
            for other in builds.iter_mut().filter(|other| linked.contains(&other.name) && !other.is_asked) {
                if other.target.platforms().is_empty() {
                    let new = platforms.iter().filter(|platform| !other.platforms.contains(platform));
                    let new: Vec<Platform> = new.cloned().collect();
                    other.platforms.extend(new);
                }
            }
        }
    }
    Ok(builds)
}

fn told(mut failure: Failure, name: &str) -> Failure {
    for diagnostic in &mut failure.diagnostics {
        diagnostic.causes.push(format!("the target `{name}` asks for it"));
    }
    failure
}

fn build<'a>(engine: &Engine, name: &'a str, target: &'a Target, is_asked: bool) -> Result<Build<'a>, Failure> {
    let context = target.context();
    // What the caller's folder is called where the files have come from elsewhere.
    let context = context.strip_prefix("cwd://").map_or(context, |rest| if rest.is_empty() { "." } else { rest });
    if context.starts_with("target:") {
        let diagnostic = Diagnostic::error(&codes::NOT_YET, "a target as the context itself is not there yet");
        return Err(diagnostic.hint("name it in `contexts`, and use the name after FROM or --from").into());
    }
    let is_local = !context.contains("://") && !context.starts_with("git@");
    let dockerfile = Path::new(target.dockerfile());
    let mut line = target.flags();
    if target.dockerfile_inline().is_none() {
        let place = if is_local { current_folder().join(context).join(dockerfile) } else { dockerfile.to_owned() };
        line.push(format!("--file={}", place.display()));
    }
    line.push("--".into());
    line.push(context.to_owned());
    let parsed = BuildLine::try_parse_from(&line).map_err(|error| {
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Failure::from(Diagnostic::error(&codes::NOT_YET, message).hint("leave the key out, or override it with --set"))
    })?;
    let mut request = prepare(engine, &parsed.build, context)?;
    if let Some(text) = target.dockerfile_inline() {
        let name = format!("{name} (dockerfile-inline)");
        request.dockerfile = DockerfileSource::Text { name, text: text.to_owned() };
    }
    let outputs = if is_asked { parsed.build.more.output.as_slice() } else { &[] };
    let outputs = Outputs::new(outputs)?;
    if !is_asked {
        request.tags.clear();
    }
    let platforms = platforms::wanted(&parsed.build)?;
    let is_sayable = target.links().next().is_none() && target.dockerfile_inline().is_none();
    // Neither what becomes of the image nor its platforms.
    let is_needed = |word: &String| {
        let others = ["--", "--tag=", "--output=", "--cache-to=", "--annotation=", "--attest=", "--platform="];
        !others.iter().any(|other| if *other == "--" { word == other } else { word.starts_with(other) })
    };
    let line = is_sayable.then(|| line.into_iter().filter(is_needed).collect());
    Ok(Build { name, target, is_asked, request, outputs, platforms, line, arguments: parsed.build })
}

fn run(
    session: &Session,
    engine: &Engine,
    mut builds: Vec<Build<'_>>,
    arguments: &BakeArguments,
    display: &Display,
) -> Outcome {
    for build in &mut builds {
        build.outputs.open(&mut build.request)?;
        if build.outputs.pushed().is_some() && build.request.tags.is_empty() {
            let reason = format!("`tags` for the target `{}`: what is pushed needs a name", build.name);
            return Err(flags::invalid("--push", "", &reason).into());
        }
    }
    // Each target's builds, one a platform, follow each other.
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    let mut begins = BTreeMap::new();
    for build in &mut builds {
        begins.insert(build.name, wanted.len());
        cache_flags::share(&mut build.request, build.platforms.len().max(1));
        if build.platforms.len() > 1 {
            wanted.extend(build.platforms.iter().map(|platform| Wanted {
                name: format!("{} {platform}", build.name),
                ..platforms::one(&build.request, platform)
            }));
        } else {
            let mut request = build.request.clone();
            request.platform = build.platforms.first().cloned().or(request.platform);
            wanted.push(Wanted { name: build.name.to_owned(), place: None, request, contexts: Vec::new() });
        }
    }
    for build in &builds {
        let begin = begins[build.name];
        for index in 0..build.platforms.len().max(1) {
            let platform = build.platforms.get(index);
            let contexts = build.target.links().filter_map(|(context, other)| {
                let linked = builds.iter().find(|linked| linked.name == other)?;
                let same = linked.platforms.iter().position(|own| Some(own) == platform).unwrap_or(0);
                Some((context::context_name(context), begins[other] + same))
            });
            wanted[begin + index].contexts = contexts.collect();
            if build.platforms.len() > 1 {
                context::layouts(engine, &build.arguments, &mut wanted[begin + index].request)?;
            }
        }
    }
    let built = several::all(session, engine, &wanted, display).map_err(|(failure, index)| {
        let failed = builds
            .iter()
            .find(|build| (begins[build.name]..begins[build.name] + build.platforms.len().max(1)).contains(&index));
        let Some(line) = failed.and_then(|build| build.line.as_ref()) else { return failure };
        let platform = wanted[index].request.platform.iter().map(|platform| format!("--platform={platform}"));
        let words: Vec<String> = ["build".to_owned()].into_iter().chain(platform).chain(line.iter().cloned()).collect();
        debug::offer_target(failure, &words)
    })?;
    finish(session, engine, &mut builds, (&begins, &built), (arguments, display))
}

/// Indexes, files, and what is told of it all.
fn finish(
    session: &Session,
    engine: &Engine,
    builds: &mut [Build<'_>],
    (begins, built): (&BTreeMap<&str, usize>, &[BuildResult]),
    (arguments, display): (&BakeArguments, &Display),
) -> Outcome {
    let (mut metadata, mut answer) = (serde_json::Map::new(), serde_json::Map::new());
    for build in builds {
        let own = &built[begins[build.name]..][..build.platforms.len().max(1)];
        if !build.is_asked {
            let ids: Vec<_> = own.iter().map(|built| built.image.id).collect();
            engine.forget_unnamed(&ids)?;
            continue;
        }
        let (mut told, mut shown) = (build_flags::metadata(&own[0]), result(&own[0]));
        if own.len() > 1 {
            let images: Vec<_> =
                build.platforms.iter().cloned().zip(own.iter().map(|built| built.image.clone())).collect();
            let index = engine.join_platforms(&images, &build.request.tags, &build.request.outputs)?;
            if let Some(descriptor) = index.descriptor {
                told = json!({ "containerimage.descriptor": descriptor, "containerimage.digest": descriptor.digest });
                shown["id"] = json!(descriptor.digest);
            }
        }
        build.outputs.finish()?;
        if let Some(compression) = build.outputs.pushed() {
            registry::push_built(session, engine, &build.request.tags, compression, display.is_quiet())?;
        }
        metadata.insert(build.name.to_owned(), told);
        answer.insert(build.name.to_owned(), shown);
    }
    if let Some(path) = &arguments.metadata_file {
        destination::write(path, &format!("{:#}\n", Value::Object(metadata)))?;
    }
    session.output.result("bake", &Value::Object(answer), |_| String::new());
    Ok(exit::DONE)
}
