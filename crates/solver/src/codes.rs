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
    /// A program of a RUN that ended with an error.
    RUN_FAILED = "build/run-failed",
        "a RUN step failed",
        "The program of the step ended with a status other than 0, was killed by a signal, or could not be started. Status 127 \
         is a program that was not found; 137 is a kill, often for want of memory.",
        "Read the last lines of its output below the message; the whole output is above it.",
        "Correct the command. To look around where it failed, build with --debug.";
    /// A stop in an image without a shell.
    NO_SHELL = "build/no-shell",
        "no shell to look around with",
        "The image at this step has no shell (`SHELL`, else /bin/sh), and the host has no static busybox that could be lent.",
        "Run `ls -l /bin/busybox /usr/bin/busybox` on the host.",
        "Install a static busybox on the host (Debian: busybox-static), or stop in an earlier stage.";
    /// A file that knows packages could not be understood.
    SBOM_INCOMPLETE = "build/sbom-incomplete",
        "packages are missing from a bill of materials",
        "A package database in the image is damaged, larger than any real one, or of a kind that is not read.",
        "The cause says which it is; the same file is in a container of the image.",
        "Repair or remove the file in the layer that brings it. RPM's packages can be listed with `rpm -qa` in a container.";
    /// A source of COPY or ADD that is not there.
    NOT_FOUND = "build/source-not-found",
        "nothing to copy",
        "The source path is not in the build context (or the stage or image after --from). What .dockerignore leaves out is not \
         in the context.",
        "Look for the path below the context folder, and at the patterns of .dockerignore.",
        "Correct the path, which counts from the root of the context, or take it out of .dockerignore.";
    /// A COPY that cannot be carried out.
    COPY_FAILED = "build/copy-failed",
        "files cannot be copied",
        "A file or folder could not be read or written: a file stands where a folder is needed, permission is missing, the disk \
         is full.",
        "Read the reason below the message.",
        "Remove the cause and build again; what was built before this step is cached.";
    /// An owner that the image does not know.
    UNKNOWN_OWNER = "build/unknown-owner",
        "unknown user or group",
        "The name after --chown or USER is not in /etc/passwd or /etc/group of the stage at this point.",
        "Look for the RUN that adds the user: it must stand above.",
        "Add the user first, or give numbers.";
    /// A base image that the store does not have.
    IMAGE_NOT_FOUND = "build/image-not-found",
        "image not found",
        "The image is not in the store, and no stage of that name stands above.",
        "List the images with `carrack images`, and the stage names after AS in the Dockerfile.",
        "Get the image with `carrack pull`, `carrack load` or `carrack image bootstrap`, or correct the name.";
    /// An image for another platform.
    WRONG_PLATFORM = "build/wrong-platform",
        "the image is for another platform",
        "The image of that name in the store is for another operating system or processor than the one that is built for.",
        "See `carrack image inspect` for the image's platform.",
        "Get the image for the platform, or build for the image's with --platform.";
    /// A Dockerfile that cannot be read.
    UNREADABLE = "build/unreadable",
        "the Dockerfile or context cannot be read",
        "The file or folder does not exist, is of another kind, or permission is missing.",
        "Read the reason below the message.",
        "Correct the path: the file is given with --file, and the context is the last argument.";
    /// A secret that the build was not given.
    MISSING_SECRET = "build/missing-secret",
        "a required secret or agent is missing",
        "The step mounts a secret or SSH agent with `required`, and the build was not given one of that id.",
        "Compare the id with those after --secret and --ssh.",
        "Pass it: --secret id=NAME,src=FILE, or --ssh NAME[=SOCKET].";
    /// Something else that stopped a step.
    STEP_FAILED = "build/step-failed",
        "a step cannot be carried out",
        "The store, the kernel or the file system refused something that the step needs.",
        "Read the reason below the message.",
        "Remove the cause and build again; what was built before this step is cached.";
    /// Something behind an address that could not be had.
    FETCH_FAILED = "build/fetch-failed",
        "a source cannot be fetched",
        "The server of an ADD or of a context cannot be reached, does not have the file or reference, or gave up on the way; \
         a repository needs the program git on this machine.",
        "Read the reason below the message, and try the address with curl or git.",
        "Correct the address, or make the server reachable; what was fetched before is kept. Files come through the proxy of \
         HTTP_PROXY or HTTPS_PROXY, by their scheme and but for NO_PROXY, which must let carrack connect (CONNECT), to port 80 too; and from servers that the system's authorities or those of \
         SSL_CERT_FILE vouch for (what is said of registries holds for registries); repositories as git is configured.";
    /// Something fetched that is not what was wanted.
    CHECKSUM = "build/wrong-checksum",
        "a fetched source is not the wanted one",
        "The digest of the file, or the commit of the repository, differs from what --checksum says. Nothing of it was used.",
        "Compare with what the publisher says.",
        "If the change is meant, write the new digest or commit.";
    /// A program for another machine.
    FOREIGN = "build/foreign-platform",
        "a step's programs are for another machine",
        "The step runs programs of a platform whose programs this machine does not run: neither its processor does, nor has \
         the kernel been given an emulator for them (binfmt_misc).",
        "`ls /proc/sys/fs/binfmt_misc` lists the emulators that the kernel was given.",
        "Install an emulator (Debian: qemu-user-static; one that is registered by hand needs the flag F, and P for programs that \
         go by their own name, such as busybox), build on such a machine, or let the stage run here with \
         `FROM --platform=$BUILDPLATFORM` and compile for the other one. Stages without RUN need nothing.";
    /// A step whose result is not there, where nothing may be done about it.
    NOT_CACHED = "build/not-cached",
        "a step is not cached",
        "The result of a step was asked for without running it, and no earlier build has left it.",
        "`carrack build` shows which steps run.",
        "Build the image.";
    /// Several files copied to one.
    OVERWRITTEN = "build/overwritten",
        "files copied over each other",
        "A pattern matches several files and the destination is no folder, so that only the last one is left.",
        "Look at the destination: it does not end in a slash, and nothing of that name exists.",
        "End the destination with a slash.";
    /// A build that somebody stopped.
    CANCELLED = "build/cancelled",
        "the build was cancelled",
        "An interrupt, or the end of the command that asked for it, stopped the build before all steps were done.",
        "The output above shows the step that was running.",
        "Build again: the steps that were done are cached.";
    /// A pattern that matches nothing.
    NO_MATCH = "build/no-match",
        "a pattern matches nothing",
        "No file of the context matches the pattern, so nothing is copied. What .dockerignore leaves out is not in the context.",
        "Look for the files below the context folder.",
        "Correct the pattern.";
    /// A cache from elsewhere that is of no use.
    CACHE_UNUSABLE = "build/cache-unusable",
        "a cache cannot be used",
        "The cache after --cache-from, or a layer of it, is not there, cannot be read or is not what it claims to be. The build \
         goes on without it.",
        "Read the reason below the message. A cache of BuildKit's has keys that carrack does not know.",
        "Write it again with --cache-to, or correct the name; before the first such build there is none.";
    /// A promised result that is not there; the build begins anew without it.
    CACHE_LOST = "build/cache-lost",
        "a cached result cannot be had",
        "A cache told of the result of a step, and its files could not be fetched.",
        "The warnings say which cache.",
        "Nothing: the step is done again.";
    /// A cache that could not be written.
    CACHE_NOT_WRITTEN = "build/cache-not-written",
        "the cache cannot be written",
        "The folder or registry after --cache-to does not take what the build has made. The image is there all the same.",
        "Read the reason below the message.",
        "Correct the destination, log in, or add ignore-error=true.";
}
