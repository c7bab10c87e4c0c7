//! Who belongs to a group, by the files of this machine. The kernel tells a peer's first group only; people are given the others.

use std::fs;

/// Whether the user of this number is a member of the group of that number, in `/etc/passwd` and `/etc/group`.
pub(super) fn is_member(user: u32, group: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    is_named(&read("/etc/passwd"), &read("/etc/group"), user, group)
}

fn is_named(users: &str, groups: &str, user: u32, group: u32) -> bool {
    let (user, group) = (user.to_string(), group.to_string());
    // name:password:number:...
    let names = users.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == user).then_some(name)
    });
    // name:password:number:member,member
    let members: Vec<&str> = groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            (fields.next()? == group).then(|| fields.next())?
        })
        .flat_map(|members| members.split(','))
        .collect();
    names.into_iter().any(|name| members.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_in_the_group_is_a_member() {
        let users = "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/:/bin/sh\nbert:x:1001:1001::/:/bin/sh\nbroken\n";
        let groups = "root:x:0:\nfieldgate:x:990:anna,carl\nempty:x:991:\n:\n";
        assert!(is_named(users, groups, 1000, 990));
        for (user, group) in [(1001, 990), (1000, 991), (1000, 0), (4711, 990)] {
            assert!(!is_named(users, groups, user, group), "{user} {group}");
        }
        assert!(!is_named("", "", 1000, 990));
    }
}
