//! The order in which people count: `web2` before `web10`. Docker's lists of networks and volumes have it.

use std::cmp::Ordering;

/// Runs of digits by their number, everything else by its bytes; of two that say the same, the one with fewer zeros first.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (mut rest, mut other) = (left.as_bytes(), right.as_bytes());
    loop {
        match (rest, other) {
            ([], []) => return left.len().cmp(&right.len()).then_with(|| left.cmp(right)),
            ([], _) => return Ordering::Less,
            (_, []) => return Ordering::Greater,
            ([one, ..], [two, ..]) if one.is_ascii_digit() && two.is_ascii_digit() => {
                let ((number, after), (second, after_second)) = (number(rest), number(other));
                // Without leading zeros the longer number is the greater one.
                let order = number.len().cmp(&second.len()).then_with(|| number.cmp(second));
                if order != Ordering::Equal {
                    return order;
                }
                (rest, other) = (after, after_second);
            }
            ([one, after @ ..], [two, after_second @ ..]) => {
                if one != two {
                    return one.cmp(two);
                }
                (rest, other) = (after, after_second);
            }
        }
    }
}

/// The digits that a text begins with, without zeros in front, and what comes behind them.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    let zeros = digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len());
    (&digits[zeros..], after)
}

#[cfg(test)]
mod tests {
    use super::compare;

    #[test]
    fn numbers_count() {
        let mut names = ["web10", "web2", "web", "a", "web02", "10", "9", "web2b", "web2a", "é"];
        names.sort_by(|left, right| compare(left, right));
        assert_eq!(names, ["9", "10", "a", "web", "web2", "web02", "web2a", "web2b", "web10", "é"]);
    }
}
