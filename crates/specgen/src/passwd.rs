use std::fmt;

/// Who a program runs as, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Every group, the primary one included: a set-group-id program may change that one, and a rule that denies the
    /// group must go on to hold (CVE-2023-25173).
    pub groups: Vec<u32>,
    /// Home folder; `/` where nobody says.
    pub home: String,
}

/// A name or number that the container does not know or the kernel does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// No such user.
    User(String),
    /// No such group.
    Group(String),
    /// Above 2³¹ − 1, or not to be read at all.
    OutOfRange(String),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "unable to find user {name}: no matching entries in /etc/passwd"),
            Self::Group(name) => write!(f, "unable to find group {name}: no matching entries in /etc/group"),
            Self::OutOfRange(number) => write!(f, "user and group ids must be between 0 and 2147483647, not {number}"),
        }
    }
}

impl std::error::Error for Unknown {}

/// Largest id. Above it the kernel would take it, and half of all programs would read a negative number
/// (CVE-2024-40635).
const ID_MAX: u64 = i32::MAX as u64;

/// One line of passwd(5).
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// One line of group(5).
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Reads `user[:group]` and further groups after Docker's rules, with the texts of the container's /etc/passwd and
/// /etc/group.
///
/// A number needs no entry. Without a group the user's own counts, and the groups that name the user are added; with
/// one they are not. Lines that are no records are passed over, as the C library does.
pub fn identify(user: &str, groups: &[String], passwd: &str, group: &str) -> Result<Identity, Unknown> {
    let (user, primary) = user.split_once(':').unwrap_or((user, ""));
    let user = if user.is_empty() { "0" } else { user };
    let number = number(user)?;
    let entry = users(passwd).find(|entry| entry.name == user);
    let entry = entry.or_else(|| users(passwd).find(|entry| Some(entry.uid) == number));
    let mut identity = match (&entry, number) {
        (Some(entry), _) => Identity {
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            home: if entry.home.is_empty() { "/".into() } else { entry.home.into() },
        },
        (None, Some(uid)) => Identity { uid, gid: 0, groups: Vec::new(), home: "/".into() },
        (None, None) => return Err(Unknown::User(user.into())),
    };
    if !primary.is_empty() {
        identity.gid = group_id(primary, group)?;
    }
    identity.groups.push(identity.gid);
    if let (Some(entry), true) = (&entry, primary.is_empty()) {
        let member = |group: &Group<'_>| group.members.split(',').any(|member| member.trim() == entry.name);
        identity.groups.extend(self::groups(group).filter(member).map(|group| group.gid));
    }
    for name in groups {
        identity.groups.push(group_id(name, group)?);
    }
    identity.groups.sort_unstable();
    identity.groups.dedup();
    Ok(identity)
}

fn group_id(name: &str, text: &str) -> Result<u32, Unknown> {
    let number = number(name)?;
    let entry = groups(text).find(|group| group.name == name);
    entry.map(|group| group.gid).or(number).ok_or_else(|| Unknown::Group(name.into()))
}

/// None for a name.
fn number(text: &str) -> Result<Option<u32>, Unknown> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u64>() {
        Ok(number) if number <= ID_MAX => Ok(Some(number as u32)),
        _ => Err(Unknown::OutOfRange(text.into())),
    }
}

fn users(text: &str) -> impl Iterator<Item = User<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
        let home = fields.nth(1).unwrap_or("");
        (!name.is_empty()).then_some(User { name, uid, gid, home })
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = id(fields.next()?)?;
        (!name.is_empty()).then_some(Group { name, gid, members: fields.next().unwrap_or("") })
    })
}

fn id(text: &str) -> Option<u32> {
    text.parse::<u64>().ok().filter(|id| *id <= ID_MAX).map(|id| id as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Identity, Unknown, identify};

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:1000:1000::/srv/web:/bin/sh\n\
                          nohome:x:1001:1001:::\n123:x:7:8::/home/digits:\nhuge:x:4294967295:0::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:1000:\ndocker:x:999:web,other\nlogs:x:4:other, web\n";

    fn of(user: &str) -> Result<Identity, Unknown> {
        identify(user, &[], PASSWD, GROUP)
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: &str) -> Result<Identity, Unknown> {
        Ok(Identity { uid, gid, groups: groups.to_vec(), home: home.into() })
    }

    #[test]
    fn users_by_name_and_number() {
        assert_eq!(of(""), identity(0, 0, &[0], "/root"));
        assert_eq!(of("web"), identity(1000, 1000, &[4, 999, 1000], "/srv/web"));
        assert_eq!(of("1000"), identity(1000, 1000, &[4, 999, 1000], "/srv/web"), "a number finds its record");
        assert_eq!(of("nohome"), identity(1001, 1001, &[1001], "/"));
        assert_eq!(of("123"), identity(7, 8, &[8], "/home/digits"), "a name of digits is a name first");
        assert_eq!(of("5000"), identity(5000, 0, &[0], "/"), "a number needs no record");
        assert_eq!(of("nobody"), Err(Unknown::User("nobody".into())));
    }

    #[test]
    fn a_group_of_ones_own_replaces_the_records_groups() {
        assert_eq!(of("web:docker"), identity(1000, 999, &[999], "/srv/web"));
        assert_eq!(of("web:5"), identity(1000, 5, &[5], "/srv/web"));
        assert_eq!(of(":docker"), identity(0, 999, &[999], "/root"));
        assert_eq!(of("web:nothere"), Err(Unknown::Group("nothere".into())));
    }

    #[test]
    fn further_groups() {
        let groups = ["docker".to_owned(), "77".to_owned(), "77".to_owned()];
        assert_eq!(identify("web:web", &groups, PASSWD, GROUP), identity(1000, 1000, &[77, 999, 1000], "/srv/web"));
    }

    /// CVE-2024-40635, CVE-2023-25173.
    #[test]
    fn ids_do_not_overflow_and_the_primary_group_is_in_the_list() {
        for user in ["2147483648", "4294967295", "4294967296", "99999999999999999999999", "-1", "0:4294967296"] {
            assert!(matches!(of(user), Err(Unknown::OutOfRange(_))), "{user}");
        }
        assert_eq!(of("huge"), Err(Unknown::User("huge".into())), "a record out of range is no record");
        assert!(of("2147483647:2147483647").is_ok_and(|identity| identity.groups == [2_147_483_647]));
    }

    proptest! {
        #[test]
        fn never_panics(user in ".{0,20}", passwd in ".{0,200}", group in ".{0,200}") {
            let _ = identify(&user, &[], &passwd, &group);
        }
    }
}
