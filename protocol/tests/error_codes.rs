//! Error codes against an independent list.

use kafka_protocol::ResponseError;
use tidelog_protocol::ErrorCode;

#[test]
fn every_code_of_the_protocol_has_its_name_and_retriability() {
    let numbers: Vec<_> = ErrorCode::ALL.iter().map(|code| code.0).collect();
    assert_eq!(numbers, (-1..=133).collect::<Vec<_>>());
    for &code in ErrorCode::ALL {
        let Some(theirs) = ResponseError::try_from_code(code.0) else {
            assert_eq!(code, ErrorCode::NONE);
            continue;
        };
        let camel_case: String = code.to_string().split('_').map(capitalized).collect();
        assert_eq!(camel_case, theirs.to_string());
        assert_eq!(code.is_retriable(), theirs.is_retriable(), "{code}");
    }
}

fn capitalized(word: &str) -> String {
    word[..1].to_owned() + &word[1..].to_lowercase()
}

#[test]
fn an_unknown_code_keeps_its_number() {
    let unknown = ErrorCode(1234);
    assert_eq!(unknown.name(), None);
    assert_eq!(format!("{unknown} {unknown:?}"), "ErrorCode(1234) ErrorCode(1234)");
    assert!(unknown.is_error() && !unknown.is_retriable());
    assert_eq!(format!("{:?}", ErrorCode::NOT_COORDINATOR), "NOT_COORDINATOR");
}

#[test]
fn messages_are_short_lowercase_and_without_full_stop() {
    for code in ErrorCode::ALL {
        let message = code.message();
        assert!(message.len() <= 70 && !message.ends_with('.'), "{message}");
        assert!(
            !message.starts_with(|c: char| c.is_uppercase()) || is_acronym(message),
            "{message}"
        );
    }
}

fn is_acronym(message: &str) -> bool {
    message.split(' ').next().is_some_and(|word| word.chars().all(char::is_uppercase))
}
