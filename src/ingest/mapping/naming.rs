//! The naming rule: what a name of the API becomes in the database when nobody says.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How columns and tables are named where no name is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Naming {
    /// As the API has it.
    #[default]
    #[serde(rename = "as-is")]
    AsIs,
    /// `LastName` is `last_name`, `AccountID` is `account_id`, `line-item` is `line_item`.
    #[serde(rename = "snake_case")]
    SnakeCase,
}

impl Naming {
    /// The name by this rule. Names that are so already are not copied.
    pub fn apply(self, name: Cow<'_, str>) -> Cow<'_, str> {
        match self {
            Self::SnakeCase if !is_snake_case(&name) => Cow::Owned(snake_case(&name)),
            _ => name,
        }
    }
}

fn is_snake_case(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// A word begins at an upper-case letter that follows a lower-case letter or digit, or that a
/// lower-case letter follows within capitals (`HTTPServer`). What is neither a letter nor a digit
/// becomes `_`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before = None;
    let mut rest = name.chars().peekable();
    while let Some(letter) = rest.next() {
        let follows: Option<char> = before;
        if letter.is_uppercase() {
            let after_word = follows.is_some_and(|it| it.is_lowercase() || it.is_numeric());
            let last_capital = follows.is_some_and(char::is_uppercase)
                && rest.peek().is_some_and(|it| it.is_lowercase());
            if after_word || last_capital {
                out.push('_');
            }
            out.extend(letter.to_lowercase());
        } else if letter.is_alphanumeric() {
            out.push(letter);
        } else {
            out.push('_');
        }
        before = Some(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case_word_by_word() {
        let table = [
            ("last_name", "last_name"),
            ("LastName", "last_name"),
            ("lastName", "last_name"),
            ("AccountID", "account_id"),
            ("HTTPServer", "http_server"),
            ("My_Field__c", "my_field__c"),
            ("line-item", "line_item"),
            ("customer.subscription", "customer_subscription"),
            ("address2Line", "address2_line"),
            ("ID", "id"),
            ("Straße", "straße"),
            ("ÄnderungsDatum", "änderungs_datum"),
            ("", ""),
        ];
        for (name, want) in table {
            assert_eq!(Naming::SnakeCase.apply(name.into()), want);
            assert_eq!(Naming::AsIs.apply(name.into()), name);
        }
        let same = Naming::SnakeCase.apply("a_1".into());
        assert!(matches!(same, Cow::Borrowed("a_1")), "a name that is right is not copied");
    }
}
