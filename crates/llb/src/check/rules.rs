//! Checks of how the file is written.

use carrack_diag::Span;
use carrack_dockerfile::ast::{Command, CommandLine, CopySource, Instruction, Stage};

use super::{CheckInput, Findings};
use crate::codes;

/// Parts of names that tell of a secret, and one that takes it back.
const SECRETS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const PUBLIC: &str = "public";

pub(super) fn all(input: &CheckInput<'_>, findings: &mut Findings) {
    let file = input.dockerfile;
    casing(input, findings);
    for span in &file.empty_continuations {
        findings.add(&codes::NO_EMPTY_CONTINUATION, *span, "Empty continuation line found".into());
    }
    for (index, stage) in file.stages.iter().enumerate() {
        names(input, index, stage, findings);
        platform(stage, findings);
        several(stage, findings);
        for instruction in &stage.instructions {
            alone(input, instruction, findings);
        }
    }
    for instruction in &file.global_args {
        alone(input, instruction, findings);
    }
    descriptions(input, findings);
}

fn text<'a>(input: &CheckInput<'a>, span: Span) -> &'a str {
    input.source.text.get(span.start as usize..span.end as usize).unwrap_or_default()
}

fn is_lower(word: &str) -> bool {
    word == word.to_lowercase()
}

fn is_upper(word: &str) -> bool {
    word == word.to_uppercase()
}

/// The keyword of a FROM.
fn from_keyword(stage: &Stage) -> &str {
    stage.from.text.split_whitespace().next().unwrap_or_default()
}

fn casing(input: &CheckInput<'_>, findings: &mut Findings) {
    let file = input.dockerfile;
    let froms = file.stages.iter().map(|stage| (from_keyword(stage), stage.from.span));
    let instructions = file.global_args.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
    let others = instructions.map(|instruction| (instruction.keyword.value.as_str(), instruction.keyword.span));
    let keywords: Vec<(&str, Span)> = froms.chain(others).collect();
    let lower = keywords.iter().filter(|(word, _)| is_lower(word)).count();
    let upper = keywords.iter().filter(|(word, _)| is_upper(word)).count();
    let (fits, form): (fn(&str) -> bool, _) =
        if lower > upper { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
    for (word, span) in keywords {
        if !fits(word) {
            let message = format!("Command '{word}' should match the case of the command majority ({form})");
            findings.add(&codes::CONSISTENT_INSTRUCTION_CASING, span, message);
        }
    }
}

fn names(input: &CheckInput<'_>, index: usize, stage: &Stage, findings: &mut Findings) {
    let Some(name) = &stage.from.name else { return };
    let written = text(input, name.span);
    if !is_lower(written) {
        findings.add(&codes::STAGE_NAME_CASING, name.span, format!("Stage name '{written}' should be lowercase"));
    }
    let (from, words) = (from_keyword(stage), stage.from.text.split_whitespace().collect::<Vec<_>>());
    if let [.., r#as, _] = words.as_slice()
        && (is_lower(from) != is_lower(r#as) || is_upper(from) != is_upper(r#as))
    {
        let message = format!("'{as}' and '{from}' keywords' casing do not match");
        findings.add(&codes::FROM_AS_CASING, stage.from.span, message);
    }
    if matches!(name.value.as_str(), "scratch" | "context") {
        let message = format!("'{}' is reserved and should not be used as a stage name", name.value);
        findings.add(&codes::RESERVED_STAGE_NAME, name.span, message);
    }
    let mut earlier = input.dockerfile.stages[..index].iter().filter_map(|stage| stage.from.name.as_ref());
    if earlier.any(|other| other.value == name.value) {
        let message = format!("Duplicate stage name '{}', stage names should be unique", name.value);
        findings.add(&codes::DUPLICATE_STAGE_NAME, name.span, message);
    }
}

fn platform(stage: &Stage, findings: &mut Findings) {
    let Some(platform) = &stage.from.platform else { return };
    if matches!(platform.value.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            platform.value
        );
        findings.add(&codes::REDUNDANT_TARGET_PLATFORM, platform.span, message);
    }
    // A stage that is named for its platform means it.
    let is_told = stage.from.name.as_ref().is_some_and(|name| {
        platform.value.split('/').any(|part| !part.is_empty() && name.value.contains(&part.to_lowercase()))
    });
    if !platform.value.is_empty() && !platform.value.contains('$') && !is_told {
        let message = format!("FROM --platform flag should not use constant value \"{}\"", platform.value);
        findings.add(&codes::FROM_PLATFORM_FLAG_CONST_DISALLOWED, platform.span, message);
    }
}

fn several(stage: &Stage, findings: &mut Findings) {
    for kind in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let of_kind = |instruction: &&Instruction| instruction.keyword.value.eq_ignore_ascii_case(kind);
        let all: Vec<_> = stage.instructions.iter().filter(of_kind).collect();
        for instruction in all.iter().rev().skip(1).rev() {
            let message = format!(
                "Multiple {kind} instructions should not be used in the same stage because only the last one will be used"
            );
            findings.add(&codes::MULTIPLE_INSTRUCTIONS_DISALLOWED, instruction.span, message);
        }
    }
    let mut has_shell = false;
    for instruction in &stage.instructions {
        match &instruction.command {
            Command::Shell(_) => has_shell = true,
            Command::Cmd(CommandLine::Shell(line)) | Command::Entrypoint(CommandLine::Shell(line))
                if !has_shell && !line.value.is_empty() =>
            {
                let kind = instruction.keyword.value.to_uppercase();
                let message = format!(
                    "JSON arguments recommended for {kind} to prevent unintended behavior related to OS signals"
                );
                findings.add(&codes::JSON_ARGS_RECOMMENDED, instruction.span, message);
            }
            _ => {}
        }
    }
}

fn alone(input: &CheckInput<'_>, instruction: &Instruction, findings: &mut Findings) {
    match &instruction.command {
        Command::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".into();
            findings.add(&codes::MAINTAINER_DEPRECATED, instruction.span, message);
        }
        Command::Arg(arguments) => {
            arguments.iter().for_each(|argument| secret("ARG", &argument.name.value, argument.name.span, findings));
        }
        Command::Env(pairs) | Command::Label(pairs) => {
            let keyword = instruction.keyword.value.to_uppercase();
            for pair in pairs {
                if keyword == "ENV" {
                    secret("ENV", &pair.name.value, pair.name.span, findings);
                }
                if pair.legacy {
                    let message = format!(
                        "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
                    );
                    findings.add(&codes::LEGACY_KEY_VALUE_FORMAT, pair.name.span.to(pair.value.span), message);
                }
            }
        }
        Command::Expose(words) => {
            for word in words {
                let (port, protocol) = word.value.rsplit_once('/').unwrap_or((&word.value, ""));
                if !is_lower(protocol) && !protocol.contains('$') {
                    let message =
                        format!("Defined protocol '{}' in EXPOSE instruction should be lowercase", word.value);
                    findings.add(&codes::EXPOSE_PROTO_CASING, word.span, message);
                }
                if port.contains(':') && !port.contains("${") {
                    let message = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
                        word.value
                    );
                    findings.add(&codes::EXPOSE_INVALID_FORMAT, word.span, message);
                }
            }
        }
        Command::Copy(copy) | Command::Add(copy) if copy.from.is_none() => {
            let Some(ignore) = input.ignore else { return };
            let keyword = if matches!(instruction.command, Command::Add(_)) { "Add" } else { "Copy" };
            for source in &copy.sources {
                let CopySource::Path(word) = source else { continue };
                let path = word.value.trim_matches('/').trim_start_matches("./");
                let is_plain = !path.is_empty()
                    && path != "."
                    && !path.contains(['$', ':', '"', '\''])
                    && !carrack_dockerfile::has_wildcard(path);
                if is_plain && ignore.is_ignored(path) && !ignore.has_exceptions_below(path) {
                    let message =
                        format!("Attempting to {keyword} file \"{}\" that is excluded by .dockerignore", word.value);
                    findings.add(&codes::COPY_IGNORED_FILE, word.span, message);
                }
            }
        }
        Command::Onbuild(inner) => alone(input, inner, findings),
        _ => {}
    }
}

/// Whether a variable of this name probably holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let parts: Vec<String> = name.split('_').map(str::to_lowercase).collect();
    parts.iter().any(|part| SECRETS.contains(&part.as_str())) && !parts.iter().any(|part| part == PUBLIC)
}

fn secret(keyword: &str, name: &str, span: Span, findings: &mut Findings) {
    if is_secret_name(name) {
        let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} \"{name}\")");
        findings.add(&codes::SECRETS_USED_IN_ARG_OR_ENV, span, message);
    }
}

/// A comment right above a FROM or ARG describes it, and begins with its name.
fn descriptions(input: &CheckInput<'_>, findings: &mut Findings) {
    let file = input.dockerfile;
    let stages = file.stages.iter().filter_map(|stage| Some((stage.from.span, stage.from.name.as_ref()?)));
    let instructions = file.global_args.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
    let arguments = instructions.filter_map(|instruction| match &instruction.command {
        Command::Arg(arguments) => Some((instruction.span, &arguments.first()?.name)),
        _ => None,
    });
    for (span, name) in stages.chain(arguments) {
        let before = input.source.text.get(..span.start as usize).unwrap_or_default();
        // The last piece is the indentation of the instruction itself.
        let above = before.rsplit('\n').nth(1).unwrap_or_default().trim();
        let Some(comment) = above.strip_prefix('#') else { continue };
        let is_directive = comment
            .split_once('=')
            .is_some_and(|(key, _)| matches!(key.trim().to_lowercase().as_str(), "syntax" | "escape" | "check"));
        let mut words = comment.split_whitespace();
        let described = words.next().is_some_and(|first| first.eq_ignore_ascii_case(&name.value));
        if !comment.trim().is_empty() && !is_directive && !described {
            let message = "Comment for build stage or argument should follow the format: `# <arg/stage name> \
                           <description>`. If this is not intended to be a description comment, add an empty line or \
                           comment between the instruction and the comment."
                .into();
            findings.add(&codes::INVALID_DEFINITION_DESCRIPTION, span, message);
        }
    }
}
