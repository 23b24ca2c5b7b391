//! Diagnostic codes of this crate.

use carrack_diag::Code;

/// The file system under a root has no room left.
pub static DISK_FULL: Code = Code {
    id: "store/disk-full",
    title: "no space left under the root",
    cause: "The file system that holds the data root or the run root is full, or a quota is used up. What was being \
            written was dropped; everything committed before is intact.",
    check: "`df -h` and `df -i` on the path of the message; `carrack images` shows what images take.",
    fix: "Free space, for example with `carrack builder prune` or `carrack rmi`, or move the root to a larger file system with --root.",
};

/// The caller may not read or write a path of the root.
pub static NO_PERMISSION: Code = Code {
    id: "store/no-permission",
    title: "no permission on the root",
    cause: "The data root and the run root belong to one user with mode 0700.",
    check: "`ls -ld` on the path of the message and `id -u`.",
    fix: "Run the command as the owner of the root (usually with sudo), or choose another root with --root and --run-root.",
};

/// Any other failure of the operating system.
pub static IO: Code = Code {
    id: "store/io",
    title: "a file operation on the root failed",
    cause: "The operating system refused an operation on a file below the data root or the run root.",
    check: "The cause names the operation's error; the kernel's log (`dmesg`) tells of a failing disk.",
    fix: "Mend what the cause names and run the command again: nothing half-written is visible.",
};

/// A mutating function on a store that was opened for reading.
pub static READ_ONLY: Code = Code {
    id: "store/read-only",
    title: "the store was opened for reading",
    cause: "A command that promises to change nothing (plan, config, ps, status, --dry-run) tried to change the store.",
    check: "This is a fault of carrack, not of yours.",
    fix: "Report it with the command line.",
};

/// A root written by a newer carrack.
pub static UNKNOWN_VERSION: Code = Code {
    id: "store/unknown-version",
    title: "the root has another layout",
    cause: "The data root was written by another version of carrack whose layout this one does not know.",
    check: "Read the file `version` in the data root, and `carrack version`.",
    fix: "Use the carrack that wrote the root, or another root with --root.",
};

/// A name that can't be a file name of the store.
pub static INVALID_NAME: Code = Code {
    id: "store/invalid-name",
    title: "malformed name",
    cause: "Names of containers, volumes, networks and projects begin with a letter or digit and go on with letters, \
            digits, `_`, `.` and `-`, 128 characters at most.",
    check: "Look for a slash, a space, a leading dot, a variable that expanded to nothing.",
    fix: "Choose a name of those characters.",
};

/// A record that is torn, foreign or hand-edited.
pub static CORRUPT_RECORD: Code = Code {
    id: "store/corrupt-record",
    title: "a record can't be read",
    cause: "carrack writes records whole, by rename; this one was changed by something else, or by a failing disk.",
    check: "Read the file that the message names.",
    fix: "Restore the file from a backup, or remove it and make the object again.",
};

/// Layers are to be kept in a form that this host can't mount.
pub static LAYER_FORM: Code = Code {
    id: "store/layer-form",
    title: "layers can't be kept as one file here",
    cause: "CARRACK_SNAPSHOTTER or --snapshotter asks for layers as one file. They need an EROFS mount of files (Linux 6.12), \
            an overlay over it, and the right to mount in the host's own user namespace; a trial of them failed.",
    check: "`grep erofs /proc/filesystems`, `uname -r`, and the reason in the message. A root that lies on an overlay itself \
            can't have another one above a layer.",
    fix: "Leave CARRACK_SNAPSHOTTER and --snapshotter out, or say `unpacked`; or move the root with --root.",
};

/// An object that is not there.
pub static NOT_FOUND: Code = Code {
    id: "store/not-found",
    title: "no such object",
    cause: "No blob, record, volume or version of that name is below the root.",
    check: "List what is there: `carrack images`, `carrack volume ls`, `carrack release ls`; mind --root.",
    fix: "Correct the name, or make the object first.",
};

/// An object of that name is there already.
pub static EXISTS: Code = Code {
    id: "store/exists",
    title: "the name is taken",
    cause: "An object of that name exists below the root.",
    check: "List what is there.",
    fix: "Choose another name, or remove the existing object first.",
};

/// Bytes that are not what their digest says.
pub static DIGEST_MISMATCH: Code = Code {
    id: "store/digest-mismatch",
    title: "content does not match its digest",
    cause: "The bytes were damaged or replaced on their way, or the digest was copied from something else.",
    check: "Compare both digests of the message with those of the source.",
    fix: "Fetch or make the content again. Nothing of it was kept.",
};

/// A lock that somebody else holds.
pub static LOCKED: Code = Code {
    id: "store/locked",
    title: "another process holds a lock",
    cause: "Two commands want to change the same thing; the second waits, but not for ever.",
    check: "`ps` on the process that the message names.",
    fix: "Wait for it, end it, or give --timeout a larger value.",
};

/// A lock taken against the documented order.
pub static LOCK_ORDER: Code = Code {
    id: "store/lock-order",
    title: "locks taken in the wrong order",
    cause: "Locks have one order (project, container, volume, networks, content, events) so that no two commands wait for each other.",
    check: "This is a fault of carrack, not of yours.",
    fix: "Report it with the command line.",
};

/// No image of that name or id.
pub static IMAGE_NOT_FOUND: Code = Code {
    id: "store/image-not-found",
    title: "no such image",
    cause: "No image below the root has that name, id or digest.",
    check: "`carrack images`; mind --root, the tag, and that a name without tag means `:latest`.",
    fix: "Correct the name, or `carrack pull`, `carrack load`, `carrack build` or `carrack image bootstrap` it first.",
};

/// An id prefix of several images.
pub static IMAGE_AMBIGUOUS: Code = Code {
    id: "store/image-ambiguous",
    title: "several images begin with these digits",
    cause: "An image may be named by the first digits of its id as long as no other id begins with them.",
    check: "`carrack images --no-trunc`.",
    fix: "Give more digits, or the name.",
};

/// An image that something needs.
pub static IMAGE_IN_USE: Code = Code {
    id: "store/image-in-use",
    title: "the image is in use",
    cause: "A container, a kept release or a running build refers to the image.",
    check: "`carrack ps -a` and `carrack release ls`.",
    fix: "Remove what uses it first, or force it: then it loses its names, and goes with the first prune after its last \
          user.",
};

/// An image archive or configuration that is not one.
pub static INVALID_IMAGE: Code = Code {
    id: "store/invalid-image",
    title: "not a usable image",
    cause: "The archive, manifest or configuration breaks the image specification, or part of it is missing.",
    check: "`tar -t` on the archive: it needs `manifest.json` (docker save) or `index.json` (OCI layout).",
    fix: "Save or build the image again. A tar of a root file system is read by `carrack import`, not by load.",
};

/// A tar stream that breaks the format or that readers understand differently.
pub static INVALID_TAR: Code = Code {
    id: "store/invalid-tar",
    title: "malformed tar",
    cause: "The stream is cut, damaged, or says one thing twice in different ways, so that two readers would see two \
            different trees.",
    check: "`tar -tv` on the file; compare its length and digest with the source.",
    fix: "Fetch it again, or write it again with GNU tar, bsdtar or docker. Sparse members: repack without --sparse.",
};

/// A layer member that reaches outside of the layer or means something only to a file system.
pub static HOSTILE_LAYER: Code = Code {
    id: "store/hostile-layer",
    title: "a layer member was refused",
    cause: "A member's name, link or attribute reaches outside of the image or would change how layers are put together.",
    check: "`tar -tv` on the layer; the message names the member.",
    fix: "Do not use the image unless you know how it came about; build it again without that member.",
};

/// A compression that this version can't read.
pub static COMPRESSION: Code = Code {
    id: "store/compression",
    title: "compression not supported",
    cause: "Layers may be plain tar, gzip or zstd; bzip2 and xz are not read.",
    check: "`file` on the layer.",
    fix: "Decompress it, or repack it with gzip or zstd.",
};

/// A copy into or out of a container that can't be done so.
pub static COPY: Code = Code {
    id: "store/copy",
    title: "files can't be copied",
    cause: "A path leads nowhere, stands for something else than is to be put there, is read-only, or the archive is damaged \
            or hostile.",
    check: "Look at both paths with `ls -ld`, in the container with `carrack exec`.",
    fix: "Correct the path; take away what stands in the way, or copy to a folder that may be written to.",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[
    &COMPRESSION,
    &COPY,
    &CORRUPT_RECORD,
    &DIGEST_MISMATCH,
    &DISK_FULL,
    &EXISTS,
    &HOSTILE_LAYER,
    &IMAGE_AMBIGUOUS,
    &IMAGE_IN_USE,
    &IMAGE_NOT_FOUND,
    &INVALID_IMAGE,
    &INVALID_NAME,
    &INVALID_TAR,
    &IO,
    &LAYER_FORM,
    &LOCKED,
    &LOCK_ORDER,
    &NOT_FOUND,
    &NO_PERMISSION,
    &READ_ONLY,
    &UNKNOWN_VERSION,
];
