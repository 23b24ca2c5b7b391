//! Diagnostic codes of this crate.

use carrack_diag::Code;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $title:literal, $cause:literal, $check:literal, $fix:literal;)*) => {
        $($(#[$doc])* pub static $name: Code = Code { id: $id, title: $title, cause: $cause, check: $check, fix: $fix };)*
        /// All codes of this crate.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    /// A host name that nobody knows.
    UNKNOWN_HOST = "registry/unknown-host",
        "the registry's host name is not known",
        "The name before the first slash of the image is the registry's host, and the name server has no address for it. \
         Without a host the registry is Docker Hub.",
        "`getent hosts HOST`; look for a misspelt host, a missing VPN, a machine without a name server.",
        "Correct the host, or, without a network, get the image with `carrack load` or `carrack image bootstrap`.";
    /// Nobody answers at the address.
    UNREACHABLE = "registry/unreachable",
        "the registry can't be reached",
        "The connection was refused, cut, or not answered in time, at the registry itself or at the proxy before it. A proxy is \
         asked for a connection (CONNECT), for registries without TLS too, and many refuse that for other ports than 443.",
        "`curl -v https://HOST/v2/` from this machine; the environment's HTTPS_PROXY, HTTP_PROXY and NO_PROXY count.",
        "Start the registry, open the way to it, or set the proxy's variables. A registry without TLS behind a proxy that refuses: \
         name it in NO_PROXY, give it TLS, or let the proxy connect to its port.";
    /// The certificate is not trusted, or there is no TLS at all.
    TLS = "registry/tls",
        "no trusted TLS connection with the registry",
        "The registry's certificate is not signed by an authority that this machine trusts, is for another name, is not \
         valid today, or the registry speaks no TLS.",
        "`openssl s_client -connect HOST:PORT -showcerts` shows what it presents.",
        "Put the authority's certificate into /etc/docker/certs.d/HOST:PORT/ca.crt or into the system's bundle. A \
         registry without TLS has to be named: `insecure = true` under [registry.\"HOST:PORT\"] in \
         /etc/carrack/registries.toml.";
    /// Credentials are missing or refused.
    UNAUTHORISED = "registry/unauthorised",
        "the registry refuses access",
        "The repository does not exist for this user: it is private and no credentials are known for the host, they are \
         wrong or expired, or they do not allow what was attempted. Registries do not tell these apart.",
        "`cat ~/.docker/config.json` lists the hosts that credentials are kept for (under sudo, root's file counts). They are \
         sent to that host and, as it asks, to the token server that it names, which may be another; never to where either \
         of them redirects.",
        "`carrack login HOST` as a user who may do it, and check the repository's name.";
    /// No such repository or tag.
    NOT_FOUND = "registry/not-found",
        "the registry does not have it",
        "The registry was reached and has no such repository, tag or digest.",
        "Compare the name with the registry's page, character by character.",
        "Correct the repository or the tag; the hint lists tags that exist, where the registry tells them.";
    /// Too many requests.
    RATE_LIMITED = "registry/rate-limited",
        "the registry takes no more requests for now",
        "The registry answered 429: too many requests or pulls from this address or user.",
        "The cause has the registry's words, often with the limit and when it ends.",
        "Wait, log in with `carrack login HOST` for a higher limit, or use a mirror (registries.toml).";
    /// What came is not what was asked for.
    DIGEST_MISMATCH = "registry/digest-mismatch",
        "the registry sent something else",
        "The bytes that arrived do not have the digest or the size that was asked for. A broken proxy, cache or disk of \
         the registry does this, or somebody who changes what passes.",
        "Fetch the same digest from another network or registry and compare.",
        "Nothing of it was kept. Repeat it; where it stays, tell whoever runs the registry.";
    /// An index without the wanted platform.
    NO_PLATFORM = "registry/no-such-platform",
        "the image is not there for this platform",
        "The image was published for other operating systems or processors only.",
        "The causes list the platforms that it is published for.",
        "Name one of them with --platform, or use an image that is published for this machine.";
    /// More than a manifest may have.
    TOO_LARGE = "registry/too-large",
        "an answer of the registry is too large",
        "Manifests, configurations and token answers are limited to 4 MiB, as the distribution specification recommends. \
         What is larger is a mistake or an attack.",
        "`curl -sI` on the address of the message.",
        "Tell whoever published the image.";
    /// An answer that the specification does not allow.
    PROTOCOL = "registry/protocol",
        "the registry's answer can't be used",
        "The answer is not what the distribution specification (1.1) says: another status, a missing header, malformed \
         JSON. Often something else than a registry listens there.",
        "`curl -v https://HOST/v2/` should answer 200 or 401, with JSON.",
        "Correct the host and port; a registry behind a path or a web page in between does not work.";
    /// An artefact that is no container image.
    NOT_AN_IMAGE = "registry/not-an-image",
        "this is no container image",
        "Registries hold other things too: charts, signatures, attestations, images of the format from before 2016. The \
         manifest's type says that this is one.",
        "`carrack manifest inspect NAME` shows it.",
        "Use a name of an image. An image of the old format has to be pushed again with a Docker of 2016 or later.";
    /// Settings, certificates or `config.json` that can't be read.
    SETTINGS = "registry/settings",
        "the settings for registries can't be used",
        "registries.toml, ~/.docker/config.json, a certificate below certs.d or a proxy's variable is malformed or can't \
         be read.",
        "The message names the file or variable.",
        "Correct it. registries.toml lies in /etc/carrack and in ~/.config/carrack; under [registry.\"HOST:PORT\"] it may say \
         mirrors = [\"HOST\", …], insecure = true, ca = \"PATH\".";
    /// `docker-credential-NAME` failed.
    CREDENTIAL_HELPER = "registry/credential-helper",
        "a credential helper failed",
        "~/.docker/config.json names a program that keeps the credentials (credsStore, credHelpers), and it is not there, \
         failed, or did not answer in time.",
        "Run `echo HOST | docker-credential-NAME get`.",
        "Install or mend the helper, or take it out of ~/.docker/config.json and log in again.";
    /// The plain tar can't be read or compressed.
    UNREADABLE_LAYER = "registry/unreadable-layer",
        "a layer can't be compressed",
        "Its plain tar can't be read from the data root, or the disk is full.",
        "`carrack doctor`; the cause has the system's words.",
        "Make room, or build the image again.";
    /// Interrupted.
    CANCELLED = "registry/cancelled",
        "the transfer was cancelled",
        "The command was interrupted, or another part of it failed.",
        "The other message says why.",
        "Repeat it: layers that had arrived are kept.";
}
