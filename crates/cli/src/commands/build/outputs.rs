//! `build --output`: where the result goes.

use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::build::{BuildOutput, BuildRequest, Compression};
use carrack_oci::Reference;

use crate::destination::{Destination, unwritable};
use crate::{codes, flags};

/// What was asked for, in order.
pub(super) struct Outputs {
    wanted: Vec<Output>,
    /// Files that are being written.
    open: Vec<Destination>,
}

struct Output {
    kind: Kind,
    /// None is standard output.
    destination: Option<PathBuf>,
    names: Vec<Reference>,
    compression: Compression,
    force: bool,
    rewrite_times: bool,
    push: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Image,
    Archive,
    Tar,
    Folder,
}

impl Outputs {
    pub(super) fn new(texts: &[String]) -> Result<Self> {
        let wanted = texts.iter().map(|text| Output::parse(text)).collect::<Result<Vec<_>>>()?;
        let outputs = Self { wanted, open: Vec::new() };
        let streams = outputs.wanted.iter().filter(|output| output.is_stream()).count();
        if streams > 1 {
            return Err(flags::invalid("--output", "-", "standard output once"));
        }
        if streams == 1 && std::io::stdout().is_terminal() {
            return Err(flags::invalid("--output", "-", "dest=FILE: standard output is a terminal"));
        }
        Ok(outputs)
    }

    /// How layers go to the registries of the image's names, where they do.
    pub(super) fn pushed(&self) -> Option<Compression> {
        self.wanted.iter().find(|output| output.push).map(|output| output.compression)
    }

    pub(super) fn takes_standard_output(&self) -> bool {
        self.wanted.iter().any(Output::is_stream)
    }

    /// Opens what is written to. Files get their names when all is in them.
    pub(super) fn open(&mut self, request: &mut BuildRequest) -> Result<()> {
        for output in &self.wanted {
            request.rewrite_times |= output.rewrite_times;
            let mut file = || -> Result<Arc<File>> {
                let Some(path) = &output.destination else { return standard_output().map(Arc::new) };
                let (destination, file) = Destination::open(path)?;
                self.open.push(destination);
                Ok(Arc::new(file))
            };
            let made = match output.kind {
                Kind::Image => {
                    request.tags.extend(output.names.clone());
                    BuildOutput::Image
                }
                Kind::Folder => BuildOutput::Folder(output.destination.clone().unwrap_or_default()),
                Kind::Tar => BuildOutput::Tar(file()?),
                Kind::Archive => {
                    let names = if output.names.is_empty() { request.tags.clone() } else { output.names.clone() };
                    let (compression, force) = (output.compression, output.force);
                    BuildOutput::Archive { file: file()?, names, compression, force }
                }
            };
            request.outputs.push(made);
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.open.drain(..).try_for_each(Destination::finish)
    }
}

fn standard_output() -> Result<File> {
    let own = std::io::stdout().as_fd().try_clone_to_owned();
    own.map(File::from).map_err(|error| unwritable(Path::new("standard output"), &error))
}

impl Output {
    fn is_stream(&self) -> bool {
        self.destination.is_none() && matches!(self.kind, Kind::Tar | Kind::Archive)
    }

    fn parse(text: &str) -> Result<Self> {
        const FORM: &str = "type=image|oci|docker|tar|local with dest=, or a folder, or -";
        let wrong = |form: &str| flags::invalid("--output", text, form);
        let not_yet = |what: String| {
            Diagnostic::error(&codes::NOT_YET, format!("build --output with {what} is not there yet"))
                .hint("leave it out; `carrack explain cli/not-yet`")
                .boxed()
        };
        let plain = Self {
            kind: Kind::Folder,
            destination: None,
            names: Vec::new(),
            compression: Compression::Gzip { level: 6 },
            force: false,
            rewrite_times: false,
            push: false,
        };
        if text == "-" {
            return Ok(Self { kind: Kind::Tar, ..plain });
        }
        if !text.contains('=') {
            return Ok(Self { destination: Some(text.into()), ..plain });
        }
        let (mut output, mut kind, mut compression, mut level) = (plain, None, "", None);
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| wrong(FORM))?;
            let yes = || match value {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(wrong("true or false")),
            };
            match key.to_ascii_lowercase().as_str() {
                "type" => kind = Some(value),
                "dest" if value == "-" => output.destination = None,
                "dest" => output.destination = Some(value.into()),
                // As Docker takes it: `name=a:1,name=b:2`, or a list in quotes, which a shell has taken away.
                "name" => output.names.push(value.parse()?),
                "compression" => compression = value,
                "compression-level" => level = Some(value.parse::<u32>().map_err(|_| wrong("a number"))?),
                "force-compression" => output.force = yes()?,
                "rewrite-timestamp" => output.rewrite_times = yes()?,
                // What is built here is always so.
                "oci-mediatypes" | "unpack" | "store" | "tar" if yes()? => {}
                "push" => output.push = yes()?,
                _ => return Err(not_yet(format!("`{part}`"))),
            }
        }
        output.kind = match kind {
            Some("image") => Kind::Image,
            Some("oci" | "docker")
                if kind == Some("docker") && output.destination.is_none() && !text.contains("dest=") =>
            {
                Kind::Image
            }
            Some("oci" | "docker") => Kind::Archive,
            Some("tar") => Kind::Tar,
            Some("local") if output.destination.is_some() => Kind::Folder,
            Some("local") => return Err(wrong("dest=FOLDER with type=local")),
            Some("registry") => {
                output.push = true;
                Kind::Image
            }
            _ => return Err(wrong(FORM)),
        };
        let most = if compression == "zstd" { 22 } else { 9 };
        if level.is_some_and(|level| level > most) {
            return Err(wrong(&format!("a level from 0 to {most}")));
        }
        output.compression = match compression {
            "" | "gzip" => Compression::Gzip { level: level.unwrap_or(6) },
            "zstd" => Compression::Zstd { level: level.map_or(3, |level| i32::try_from(level).unwrap_or(3)) },
            "uncompressed" => Compression::Plain,
            "estargz" => return Err(not_yet("compression=estargz".into())),
            _ => return Err(wrong("compression=gzip, zstd or uncompressed")),
        };
        if output.push && output.kind != Kind::Image {
            return Err(wrong("push=true with type=image"));
        }
        let is_outgoing = output.kind == Kind::Archive || output.push && !output.force;
        if compression.is_empty() && level.is_none() && output.push {
            output.compression = Compression::OUTGOING;
        }
        if !is_outgoing && (!compression.is_empty() || level.is_some() || output.force) {
            return Err(not_yet("a compression of anything but archives and what is pushed".into()));
        }
        Ok(output)
    }
}
