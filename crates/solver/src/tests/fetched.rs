//! Sources from elsewhere: addresses, repositories, named folders, agents (D1 D9).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use carrack_oci::Digest;
use insta::assert_snapshot;

use super::{Yard, is_able};
use crate::NamedContext;

/// Serves a folder of files on loopback, and notes what was asked for.
pub(super) struct Server {
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) fn new(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let server = Self { port: listener.local_addr().unwrap().port(), log: log.clone() };
        let folder = folder.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, log) = (folder.clone(), log.clone());
                std::thread::spawn(move || answer(&stream, &folder, &log));
            }
        });
        server
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn asked(&self) -> String {
        std::mem::take(&mut *self.log.lock().unwrap()).join(", ")
    }
}

fn answer(stream: &TcpStream, folder: &Path, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim().is_empty() {
                break;
            }
            lines.push(line.trim().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap().split('?').next().unwrap().to_owned();
        let condition =
            lines.iter().find_map(|line| line.to_lowercase().strip_prefix("if-none-match: ").map(str::to_owned));
        let content = std::fs::read(folder.join(path.trim_start_matches('/')));
        let mut out = stream;
        let head = match &content {
            Err(_) if path == "/moved" => "302 Found\r\nLocation: /file.txt\r\nContent-Length: 0".to_owned(),
            Err(_) if path == "/away" => {
                let port = out.local_addr().unwrap().port();
                format!("302 Found\r\nLocation: http://localhost:{port}/file.txt\r\nContent-Length: 0")
            }
            Err(_) if path == "/cut" => "200 OK\r\nContent-Length: 1000".to_owned(),
            Err(_) => "404 Not Found\r\nContent-Length: 0".to_owned(),
            Ok(content) => {
                let etag = format!("\"{}\"", Digest::of(content).hex());
                let time = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
                if condition == Some(etag.clone()) {
                    format!("304 Not Modified\r\nETag: {etag}")
                } else {
                    format!("200 OK\r\nETag: {etag}\r\n{time}\r\nContent-Length: {}", content.len())
                }
            }
        };
        let headers = lines.iter().filter_map(|line| line.split_once(": "));
        let authorization =
            headers.clone().find(|(name, _)| name.eq_ignore_ascii_case("authorization")).map(|(_, value)| value);
        let told = authorization.map(|value| format!(" as {value}")).unwrap_or_default();
        log.lock().unwrap().push(format!("{path} {}{told}", &head[..3]));
        let _ = out.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes());
        if path == "/cut" {
            let _ = out.write_all(b"half");
            return;
        }
        if let (true, Ok(content)) = (head.starts_with("200"), content) {
            let _ = out.write_all(&content);
        }
    }
}

/// Tokens are sent to the hosts that they are for, and are nowhere afterwards; of what was cut short nothing is kept (X6).
#[test]
fn tokens_for_servers() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("file.txt", "content");
    let server = Server::new(&yard.context());
    let build = |path: &str| {
        let mut request = yard.request(&format!("FROM scratch\nADD {} /\n", server.url(path)));
        request.secrets.insert(format!("HTTP_AUTH_TOKEN_127.0.0.1:{}", server.port), b"word\n".to_vec());
        yard.run(&request)
    };
    build("file.txt").unwrap();
    assert_eq!(server.asked(), "/file.txt 200 as Bearer word");
    build("moved").unwrap();
    assert_eq!(server.asked(), "/moved 302 as Bearer word, /file.txt 200 as Bearer word");
    build("away").unwrap();
    assert_eq!(server.asked(), "/away 302 as Bearer word, /file.txt 200");
    assert!(!build("cut").unwrap_err().contains("word"));
    let kept = super::names(&yard.store.roots().data.join("build/fetched"));
    assert!(!kept.iter().any(|name| name.ends_with(".new")), "{kept:?}");
}

#[test]
fn files_behind_addresses() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let served = yard.folder.path().join("served");
    std::fs::create_dir(&served).unwrap();
    std::fs::write(served.join("file.txt"), "one").unwrap();
    let server = Server::new(&served);
    let text = format!("FROM scratch\nADD {} /to/\n", server.url("file.txt?x=1"));
    let first = yard.build(&text);
    assert_eq!(yard.files(&first), "755 0:0 to/\n600 0:0 to/file.txt \"one\"\n");
    let lower = carrack_store::Snapshotter::lower_dirs(&yard.store, first.image.chain()).unwrap();
    let time = std::fs::metadata(lower[0].join("to/file.txt")).unwrap().modified().unwrap();
    assert_eq!(time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 784_111_777);
    assert_eq!(server.asked(), "/file.txt 200");
    let kept = || {
        let entries = crate::cache_usage(&yard.store).unwrap().into_iter();
        let fetched = entries.filter(|entry| entry.kind == crate::CacheKind::Fetched);
        fetched.map(|entry| (entry.description, entry.size_bytes > 3)).collect::<Vec<_>>()
    };
    assert_eq!(kept(), [(server.url("file.txt"), true)]);
    let everything = crate::PruneRequest { all: true, ..crate::PruneRequest::default() };
    crate::prune_cache(&yard.store, &everything).unwrap();
    assert_eq!(kept(), []);
    assert_eq!((yard.build(&text).cached_steps, server.asked()), (0, "/file.txt 200".to_owned()));
    // Asked again, and not fetched again.
    assert_eq!(yard.build(&text).cached_steps, 1);
    assert_eq!(server.asked(), "/file.txt 304");
    // Nor is the step done again for the same content under another time or address.
    std::fs::write(served.join("file.txt"), "two").unwrap();
    assert_eq!(yard.files(&yard.build(&text)), "755 0:0 to/\n600 0:0 to/file.txt \"two\"\n");
    assert_eq!(server.asked(), "/file.txt 200");
    let moved = format!("FROM scratch\nADD --chmod=755 --chown=1:2 {} /x\n", server.url("moved"));
    assert_eq!(yard.files(&yard.build(&moved)), "755 1:2 x \"two\"\n");
}

#[test]
fn checksums_and_servers_that_fail() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let served = yard.folder.path().join("served");
    std::fs::create_dir(&served).unwrap();
    std::fs::write(served.join("file"), "one").unwrap();
    let server = Server::new(&served);
    let add = |checksum: Digest| format!("FROM scratch\nADD --checksum={checksum} {} /x\n", server.url("file"));
    let right = add(Digest::of("one"));
    assert_eq!(yard.files(&yard.build(&right)), "600 0:0 x \"one\"\n");
    server.asked();
    // What its digest names cannot have changed.
    assert_eq!(yard.build(&right).cached_steps, 1);
    assert_eq!(server.asked(), "");
    let wrong = yard.fail(&add(Digest::of("two")));
    assert!(wrong.starts_with("build/wrong-checksum Dockerfile:2:"), "{wrong}");
    // What was there before a wrong answer still is.
    assert_eq!(yard.build(&right).cached_steps, 1);
    for path in ["missing", "cut"] {
        let failure = yard.fail(&format!("FROM scratch\nADD {} /x\n", server.url(path)));
        assert!(failure.starts_with("build/fetch-failed Dockerfile:2:"), "{failure}");
        assert!(failure.contains(if path == "cut" { "cut" } else { "404" }), "{failure}");
    }
    let failure = yard.fail("FROM scratch\nADD http://user:word@127.0.0.1:1/f?token=secret /x\n");
    assert!(
        failure.starts_with("build/fetch-failed") && !failure.contains("word") && !failure.contains("secret"),
        "{failure}"
    );
}

#[test]
fn an_address_is_unpacked_only_where_it_is_asked_for() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let served = yard.folder.path().join("served");
    std::fs::create_dir(&served).unwrap();
    std::fs::write(served.join("inner"), "in").unwrap();
    let arguments = ["-czf", "t.tgz", "--owner=5", "--group=6", "--mode=644", "inner"];
    assert!(Command::new("tar").args(arguments).current_dir(&served).status().unwrap().success());
    let server = Server::new(&served);
    let build =
        |flags: &str| yard.files(&yard.build(&format!("FROM scratch\nADD {flags} {} /d/\n", server.url("t.tgz"))));
    assert!(build("").contains("600 0:0 d/t.tgz"));
    assert_eq!(build("--unpack"), "755 0:0 d/\n644 5:6 d/inner \"in\"\n");
}

pub(super) fn git(folder: &Path, line: &str) {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        command.env_remove(name);
    }
    command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]);
    let done = command.args(line.split(' ')).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Makes what a plain file server shows of a repository, which lies beside it with `.git` at its end.
pub(super) fn publish(work: &Path) {
    let (folder, name) = (work.parent().unwrap(), work.file_name().unwrap().to_string_lossy());
    git(folder, &format!("clone --quiet --bare {name} {name}.git"));
    git(&folder.join(format!("{name}.git")), "update-server-info");
}

fn commit(repository: &Path) -> String {
    std::fs::read_to_string(repository.join(".git/refs/heads/main")).unwrap().trim().to_owned()
}

#[test]
fn repositories() {
    if !is_able() || !crate::tests::has_git() {
        return;
    }
    let yard = Yard::new();
    let work = yard.folder.path().join("served/work");
    std::fs::create_dir_all(work.join("docs/deep")).unwrap();
    std::fs::write(work.join("top"), "top").unwrap();
    std::fs::write(work.join("docs/deep/page"), "page").unwrap();
    std::os::unix::fs::symlink("/etc", work.join("out")).unwrap();
    git(&work, "init --quiet");
    git(&work, "add .");
    git(&work, "commit --quiet -m first");
    git(&work, "tag v1");
    let first = commit(&work);
    std::fs::write(work.join("top"), "later").unwrap();
    git(&work, "commit --quiet -a -m second");
    publish(&work);
    let server = Server::new(&yard.folder.path().join("served"));
    let add = |rest: &str| format!("FROM scratch\nADD {rest}\n");
    let url = server.url("work.git");
    let files = |rest: &str| yard.files(&yard.build(&add(rest)));
    assert_snapshot!(files(&format!("{url} /d/")), @r#"
    755 0:0 d/
    755 0:0 d/docs/
    755 0:0 d/docs/deep/
    644 0:0 d/docs/deep/page "page"
    777 0:0 d/out -> /etc
    644 0:0 d/top "later"
    "#);
    assert_snapshot!(files(&format!("{url}#v1:docs /d/")), @r#"
    755 0:0 d/
    755 0:0 d/deep/
    644 0:0 d/deep/page "page"
    "#);
    assert!(files(&format!("{url}#{first} /d/")).contains("\"top\""));
    assert!(files(&format!("--checksum={} {url}?tag=v1 /d/", &first[..12])).contains("\"top\""));
    assert!(files(&format!("--keep-git-dir {url} /d/")).contains("d/.git/HEAD"));
    let wrong = yard.fail(&add(&format!("--checksum=0123456 {url} /d/")));
    assert!(wrong.starts_with("build/wrong-checksum Dockerfile:2:"), "{wrong}");
    for missing in ["#nope", "#main:nope", "#main:out"] {
        let failure = yard.fail(&add(&format!("{url}{missing} /d/")));
        assert!(failure.starts_with("build/fetch-failed Dockerfile:2:5"), "{failure}");
    }
}

/// D9: submodules are asked for with the token of the repository where they are on its server, and with their server's own.
#[test]
fn submodules_get_the_tokens_of_their_servers() {
    if !is_able() || !crate::tests::has_git() {
        return;
    }
    let yard = Yard::new();
    let served = yard.folder.path().join("served");
    for name in ["work", "part"] {
        let work = served.join(name);
        std::fs::create_dir_all(&work).unwrap();
        std::fs::write(work.join("file"), name).unwrap();
        git(&work, "init --quiet");
        git(&work, "add .");
        git(&work, "commit --quiet -m first");
    }
    let (server, stranger) = (Server::new(&served), Server::new(&served));
    let work = served.join("work");
    git(&work, "-c protocol.file.allow=always submodule --quiet add ../part near");
    git(&work, "-c protocol.file.allow=always submodule --quiet add ../part far");
    git(&work, "config -f .gitmodules submodule.near.url ../part.git");
    git(&work, &format!("config -f .gitmodules submodule.far.url {}", stranger.url("part.git")));
    git(&work, "commit --quiet -a -m second");
    for name in ["work", "part"] {
        publish(&served.join(name));
    }
    let mut request = yard.request(&format!("FROM scratch\nADD {} /d/\n", server.url("work.git")));
    request.secrets.insert("GIT_AUTH_TOKEN".to_owned(), b"t".to_vec());
    let files = yard.files(&yard.run(&request).unwrap());
    assert!(files.contains("d/near/file \"part\"") && files.contains("d/far/file \"part\""), "{files}");
    let asked = server.asked();
    let near = asked.split(", ").filter(|line| line.starts_with("/part.git/"));
    assert!(near.clone().count() > 0 && near.clone().all(|line| line.ends_with(" as basic eC1hY2Nlc3MtdG9rZW46dA==")));
    assert!(!stranger.asked().contains(" as "), "it is not for other servers");
}

#[test]
fn what_came_from_elsewhere_is_told_with_its_digest() {
    if !is_able() || !crate::tests::has_git() {
        return;
    }
    let yard = Yard::new();
    let work = yard.folder.path().join("served/work");
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("../file.txt"), "one").unwrap();
    std::fs::write(work.join("top"), "top").unwrap();
    git(&work, "init --quiet");
    git(&work, "add .");
    git(&work, "commit --quiet -m first");
    git(&work, "tag v1");
    publish(&work);
    let server = Server::new(&yard.folder.path().join("served"));
    let address = server.url("").replace("http://", "http://me:hush@");
    let mut request =
        yard.request(&format!("FROM scratch\nADD {address}file.txt?x=1 /\nADD {address}work.git#v1 /d/\n"));
    request.attestations.provenance = Some(crate::ProvenanceRequest { is_asked: true, ..Default::default() });
    let wanted = serde_json::json!([
        { "uri": server.url("file.txt"), "digest": { "sha256": Digest::of("one").hex() } },
        { "uri": format!("{}#v1", server.url("work.git")), "digest": { "sha1": commit(&work) } },
    ]);
    // Cached steps, too, are made of it.
    for _ in 0..2 {
        let built = yard.run(&request).unwrap();
        let [predicate] = built.image.predicates.as_slice() else { panic!("{:?}", built.image.predicates) };
        let content = yard.store.read_blob(&predicate.content.digest, 1 << 20).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&content).unwrap();
        assert_eq!(told["buildDefinition"]["resolvedDependencies"], wanted);
        assert!(!told.to_string().contains("hush"));
        assert_eq!(told["runDetails"]["metadata"]["buildkit_hermetic"], false);
    }
}

#[test]
fn named_folders() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let other = yard.folder.path().join("other");
    std::fs::create_dir_all(other.join("sub")).unwrap();
    std::fs::write(other.join("sub/x"), "x").unwrap();
    std::fs::write(other.join("left"), "out").unwrap();
    std::fs::write(other.join(".dockerignore"), "left\n.dockerignore\n").unwrap();
    let mut request = yard.request(
        "FROM files AS base\nFROM scratch\nCOPY --from=base . /a/\nCOPY --from=files sub /b/\nRUN --mount=from=files,target=/m cat /m\n",
    );
    request.contexts = BTreeMap::from([("files".to_owned(), NamedContext::Folder(other.clone()))]);
    let built = yard.run(&request).unwrap();
    assert_eq!(
        yard.files(&built),
        "755 0:0 a/\n755 0:0 a/sub/\n644 0:0 a/sub/x \"x\"\n755 0:0 b/\n644 0:0 b/x \"x\"\n"
    );
    assert_eq!(yard.programs()[1], "[\"sub\"]");
    assert_eq!(yard.run(&request).unwrap().cached_steps, 4);
    std::fs::write(other.join("sub/x"), "y").unwrap();
    assert!(yard.files(&yard.run(&request).unwrap()).contains("b/x \"y\""));
    request.contexts = BTreeMap::from([("files".to_owned(), NamedContext::Folder(PathBuf::from("/nope")))]);
    assert!(yard.run(&request).unwrap_err().starts_with("build/unreadable"));
}

#[test]
fn agents() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let path = tempfile::Builder::new().prefix("agent-").tempdir().unwrap();
    let socket = path.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut asked = String::new();
            stream.read_to_string(&mut asked).unwrap();
            stream.write_all(format!("{asked} pong").as_bytes()).unwrap();
        }
    });
    let text = "FROM scratch\nCOPY Dockerfile /\nRUN --mount=type=ssh,target=/agent,required agent /agent\n";
    let mut request = yard.request(text);
    let missing = yard.run(&request).unwrap_err();
    assert!(
        missing.starts_with("build/missing-secret Dockerfile:3:1 the build was not given the SSH agent `default`"),
        "{missing}"
    );
    request.agents.insert("default".into(), socket);
    yard.run(&request).unwrap();
    assert_eq!(yard.programs(), ["agent /agent", "ping pong"]);
}
