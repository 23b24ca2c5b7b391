//! `RUN`.

use std::fmt::Write as _;

use carrack_diag::Diagnostic;
use carrack_dockerfile::ast::{self, CommandLine, Instruction, Run, Sharing, Word};

use super::stage::{Stage, clean};
use super::{Lowering, scope};
use crate::codes;
use crate::graph::{CacheMount, Edge, Exec, ExecMount, ExecSettings, MountKind, Network, Op, Vertex};

impl Lowering<'_> {
    pub(super) fn run(&mut self, stage: &mut Stage, instruction: &Instruction, run: &Run) {
        let errors = self.diagnostics.len();
        let security = run.security.as_ref().filter(|security| security.value == ast::Security::Insecure);
        if let Some(security) = security.filter(|_| !self.options.allows_insecure) {
            self.diagnostics.push(
                Diagnostic::error(&codes::NOT_ALLOWED, "RUN --security=insecure is not allowed to this build")
                    .at(security.span, "asks for every privilege on this host")
                    .hint("build with --allow security.insecure if you trust the Dockerfile"),
            );
        }
        let network = run.network.as_ref().filter(|network| network.value == ast::Network::Host);
        if let Some(network) = network.filter(|_| !self.options.allows_host_network) {
            self.diagnostics.push(
                Diagnostic::error(&codes::NOT_ALLOWED, "RUN --network=host is not allowed to this build")
                    .at(network.span, "asks for the host's network, with what listens on its loopback")
                    .hint("build with --allow network.host if you trust the Dockerfile"),
            );
        }
        if let Some(device) = run.devices.first() {
            self.diagnostics.push(
                Diagnostic::error(&codes::NOT_ALLOWED, "a build step gets no device of the host")
                    .at(device.span, "asks for a device")
                    .cause("what a device gives differs from host to host, and no cache key could tell it")
                    .hint("run the step in a container that has the device: `carrack run --device`"),
            );
        }
        let mut inputs = vec![Edge { vertex: stage.vertex }];
        let mut mounts: Vec<_> =
            run.mounts.iter().filter_map(|mount| self.mount(stage, instruction, mount, &mut inputs)).collect();
        // Each agent has a socket of its own, counted as in BuildKit; SSH_AUTH_SOCK names the last.
        let mut agent = None;
        for (number, mount) in mounts.iter_mut().filter(|mount| matches!(mount.kind, MountKind::Ssh { .. })).enumerate()
        {
            let socket = mount.target.get_or_insert_with(|| format!("/run/buildkit/ssh_agent.{number}"));
            agent = Some(socket.clone());
        }
        let arguments = self.command(stage, run, &mut mounts);
        if self.diagnostics[errors..].iter().any(Diagnostic::is_error) || !self.late.is_empty() {
            return;
        }
        let declared = stage.scope.declared_arguments();
        let mut environment = stage.image.config.env.clone();
        for (name, value) in declared.iter().filter(|(name, _)| !stage.scope.is_environment(name)) {
            environment.retain(|entry| entry.split_once('=').is_none_or(|(other, _)| other != name));
            environment.push(format!("{name}={value}"));
        }
        environment.extend(agent.map(|socket| format!("SSH_AUTH_SOCK={socket}")));
        let proxies = self.options.build_args.iter();
        let is_undeclared = |name: &str| stage.scope.get(name).is_none();
        let exec = Exec {
            arguments: arguments.clone(),
            shell: stage.shell().into_iter().next().unwrap_or_default(),
            environment,
            proxy_environment: proxies
                .filter(|(name, _)| scope::is_proxy(name) && is_undeclared(name))
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            working_directory: stage.working_directory().to_owned(),
            user: stage.image.config.user.clone(),
            mounts,
            network: match run.network.as_ref().map(|network| network.value) {
                None | Some(ast::Network::Default) => Network::Default,
                Some(ast::Network::None) => Network::None,
                Some(ast::Network::Host) => Network::Host,
            },
            insecure: security.is_some(),
            foreign: Some(stage.image.platform())
                .filter(|own| !own.architecture.is_empty() && !own.matches(&self.options.build_platform)),
            settings: ExecSettings::default(),
        };
        let name = format!("{}{}", stage.prefix(), instruction.text);
        let origin = vec![instruction.span];
        let vertex = self.add(Vertex { op: Op::Exec(Box::new(exec)), inputs, origin, name });
        stage.vertex = vertex;
        stage.record(history(&declared, &arguments), Some(vertex));
    }

    /// The argument vector, with here-documents where they belong.
    fn command(&mut self, stage: &Stage, run: &Run, mounts: &mut Vec<ExecMount>) -> Vec<String> {
        let line = match &run.command {
            CommandLine::Exec(words) => return words.iter().map(|word| word.value.clone()).collect(),
            CommandLine::Shell(line) => line,
        };
        let mut arguments = stage.shell();
        let Some(first) = run.heredocs.first() else {
            arguments.push(line.value.clone());
            return arguments;
        };
        let is_alone = run.heredocs.len() == 1 && !line.value.contains(char::is_whitespace);
        if !is_alone {
            // A program reads its here-documents; the shell hands them over.
            let mut text = line.value.clone();
            for heredoc in &run.heredocs {
                let _ = write!(text, "\n{}{}", heredoc.content.value, heredoc.name.value);
            }
            arguments.push(text);
            return arguments;
        }
        // The here-document is the program. Its variables are the shell's to expand.
        let content = first.stripped();
        if content.starts_with("#!") {
            let target = format!("/dev/pipes/{}", clean(&first.name.value).trim_start_matches('/').replace('/', "_"));
            mounts.push(ExecMount { target: Some(target.clone()), kind: MountKind::File { content, mode: 0o755 } });
            return vec![target];
        }
        arguments.push(content);
        arguments
    }

    fn mount(
        &mut self,
        stage: &Stage,
        instruction: &Instruction,
        mount: &ast::Mount,
        inputs: &mut Vec<Edge>,
    ) -> Option<ExecMount> {
        let mount = &match mount.expanded(&mut |word| stage.scope.word(word, &mut self.diagnostics)) {
            Ok(mount) => mount,
            Err(diagnostic) => {
                self.diagnostics.extend(diagnostic);
                return None;
            }
        };
        let target = mount.target.as_ref().map(|word| stage.absolute(&word.value).trim_end_matches('/').to_owned());
        if target.as_deref().is_some_and(str::is_empty) {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, "a mount cannot cover the root")
                    .at(mount.flag.span, "its target is `/`")
                    .hint("mount it at a folder of its own"),
            );
            return None;
        }
        let source = clean(mount.source.as_ref().map_or("/", |word| word.value.as_str()));
        let id = mount.id.as_ref().map(|word| word.value.clone());
        let kind = match mount.kind {
            ast::MountKind::Bind => {
                let from = mount.from.as_ref().filter(|from| !from.value.is_empty());
                let from = from.map(|from| (from.value.as_str(), from.span));
                inputs.push(self.files(from, instruction.span, stage.index)?);
                MountKind::Bind { input: inputs.len() - 1, source, writable: mount.read_only == Some(false) }
            }
            ast::MountKind::Cache => {
                let from = match mount.from.as_ref().filter(|from| !from.value.is_empty()) {
                    None => None,
                    Some(from) => {
                        inputs.push(self.files(Some((&from.value, from.span)), instruction.span, stage.index)?);
                        Some((inputs.len() - 1, source))
                    }
                };
                MountKind::Cache(CacheMount {
                    id: self.cache_id(id.or_else(|| target.clone()).unwrap_or_default()),
                    sharing: match mount.sharing {
                        Sharing::Shared => "shared",
                        Sharing::Private => "private",
                        Sharing::Locked => "locked",
                    }
                    .into(),
                    from,
                    read_only: mount.read_only == Some(true),
                    mode: self.number(&mount.mode, 8)?.unwrap_or(0o755),
                    uid: self.number(&mount.uid, 10)?.unwrap_or(0),
                    gid: self.number(&mount.gid, 10)?.unwrap_or(0),
                })
            }
            ast::MountKind::Tmpfs => MountKind::Tmpfs { size_bytes: self.size(&mount.size)? },
            ast::MountKind::Secret => return self.secret(mount, target),
            ast::MountKind::Ssh => MountKind::Ssh {
                id: id.filter(|id| !id.is_empty()).unwrap_or_else(|| "default".into()),
                required: mount.required,
                mode: self.number(&mount.mode, 8)?.unwrap_or(0o600),
                uid: self.number(&mount.uid, 10)?.unwrap_or(0),
                gid: self.number(&mount.gid, 10)?.unwrap_or(0),
            },
        };
        Some(ExecMount { target, kind })
    }

    fn secret(&mut self, mount: &ast::Mount, target: Option<String>) -> Option<ExecMount> {
        let text = |word: &Option<Word>| word.as_ref().map(|word| word.value.clone());
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let environment = text(&mount.env);
        let id = text(&mount.id).or_else(|| text(&mount.source));
        let id = id.unwrap_or_else(|| target.as_deref().map(last).unwrap_or_default());
        // Given as a variable it is no file, unless a place for one is named too.
        let target = target.or_else(|| environment.is_none().then(|| format!("/run/secrets/{}", last(&id))));
        let kind = MountKind::Secret {
            id,
            environment,
            required: mount.required,
            mode: self.number(&mount.mode, 8)?.unwrap_or(0o400),
            uid: self.number(&mount.uid, 10)?.unwrap_or(0),
            gid: self.number(&mount.gid, 10)?.unwrap_or(0),
        };
        Some(ExecMount { target, kind })
    }

    /// A cache's id within the space of names that the build was given.
    fn cache_id(&self, id: String) -> String {
        match self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS").filter(|space| !space.is_empty()) {
            Some(space) => format!("{space}/{id}"),
            None => id,
        }
    }

    /// A number of a mount; the outer none means that it was malformed.
    fn number(&mut self, word: &Option<Word>, radix: u32) -> Option<Option<u32>> {
        let Some(word) = word else { return Some(None) };
        let text = &word.value;
        let number = u32::from_str_radix(text, radix).ok();
        if number.is_none() {
            let form = if radix == 8 { "an octal number" } else { "a number" };
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, format!("`{text}` is not {form}"))
                    .at(word.span, "malformed")
                    .hint("write for example mode=0755 or uid=1000"),
            );
        }
        number.map(Some)
    }

    /// A size such as `64m`.
    fn size(&mut self, word: &Option<Word>) -> Option<Option<u64>> {
        let Some(word) = word else { return Some(None) };
        let text = word.value.to_ascii_lowercase();
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let shift = match text[digits.len()..].trim_end_matches('b').trim_end_matches('i') {
            "" => Some(0),
            "k" => Some(10),
            "m" => Some(20),
            "g" => Some(30),
            "t" => Some(40),
            _ => None,
        };
        let size = shift.and_then(|shift| digits.parse::<u64>().ok()?.checked_mul(1 << shift));
        if size.is_none() {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, format!("`{text}` is not a size"))
                    .at(word.span, "malformed")
                    .hint("write a number and k, m or g, for example size=64m"),
            );
        }
        size.map(Some)
    }
}

/// As BuildKit writes it: the number of arguments and their values before the command.
fn history(declared: &[(String, String)], arguments: &[String]) -> String {
    let mut text = String::from("RUN ");
    if !declared.is_empty() {
        let _ = write!(text, "|{} ", declared.len());
        for (name, value) in declared {
            let _ = write!(text, "{name}={value} ");
        }
    }
    let _ = write!(text, "{} # buildkit", arguments.join(" "));
    text
}
