//! Forms of every kind, in every chunking, and what is refused of them.

use super::*;
use proptest::prelude::*;

const TYPE: &str = "multipart/form-data; boundary=b";

fn scan(form: &[u8]) -> Result<Form, RequestError> {
    let mut scanner = Scanner::new(TYPE)?;
    scanner.push(form)?;
    scanner.finish()
}

fn part(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn file(value: &str) -> String {
    let head = "Content-Disposition: form-data; name=\"file\"; filename=\"a; name.wav\"";
    format!("--b\r\n{head}\r\nContent-Type: audio/wav\r\n\r\n{value}\r\n")
}

#[test]
fn the_fields_are_found_wherever_they_stand() {
    let form = file("RIFF\r\n--\n\0")
        + &part("model", "m-1")
        + &part("prompt", "abc")
        + &part("x[]", "yz")
        + "--b--\r\n";
    let found = scan(form.as_bytes()).expect("a form");
    assert_eq!(found.get(FormField::Model), Some("m-1"));
    let at = found.place(FormField::Model).expect("a place");
    assert_eq!(&form[at], "m-1");
    assert_eq!((found.files, found.file_bytes), (1, 10));
    assert_eq!((found.text_bytes, found.prompt_bytes), (8, 3));
    assert!(found.is_whole);
    let empty = part("model", "") + "--b--";
    assert_eq!(scan(empty.as_bytes()).expect("a form").get(FormField::Model), Some(""));
}

#[test]
fn a_form_that_readers_could_differ_about_is_refused_with_its_reason() {
    let model = part("model", "m");
    for (form, why) in [
        ("", "it ends before its last boundary"),
        ("--b\r\n", "it ends before its last boundary"),
        (&model, "it ends before its last boundary"),
        ("\r\n--b--", "it does not begin with its boundary"),
        ("{}", "it does not begin with its boundary"),
        ("--bc--", "its boundary stands inside a part"),
        ("--b --", "its boundary stands inside a part"),
        (&format!("{model}--b--x"), "something stands after its last boundary"),
        (
            "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n--b--",
            "a boundary of it does not begin its line",
        ),
        (
            "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\n--b--",
            "a boundary of it does not begin its line",
        ),
        (
            "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--bb\r\n--b--",
            "its boundary stands inside a part",
        ),
        ("--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b--", "a part of it has no name"),
        ("--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "a part of it has no name"),
        (
            "--b\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx\r\n--b--",
            "a part of it is not form-data",
        ),
        (
            "--b\r\nContent-Disposition: form-data; name=\"a\"; name=\"model\"\r\n\r\nx\r\n--b--",
            "a part of it has two names",
        ),
        (
            "--b\r\nContent-Disposition: form-data; name=\"a\\\"; name=\\\"model\"\r\n\r\nx\r\n--b--",
            "a header of it cannot be read",
        ),
        (
            "--b\r\nContent-Disposition: form-data;\r\n name=\"a\"\r\n\r\nx\r\n--b--",
            "the headers of a part cannot be read",
        ),
    ] {
        assert_eq!(scan(form.as_bytes()), Err(RequestError::NotAForm(why)), "{form:?}");
    }
    let twice = part("model", "a") + &part("model", "b") + "--b--";
    assert_eq!(scan(twice.as_bytes()), Err(RequestError::Duplicate("model")));
    let written = "Model".to_owned();
    let case = part("Model", "a") + "--b--";
    assert_eq!(scan(case.as_bytes()), Err(RequestError::LetterCase { written, param: "model" }));
    let long = part("model", &"a".repeat(MAX_VALUE + 1)) + "--b--";
    assert_eq!(
        scan(long.as_bytes()),
        Err(RequestError::TooLong { param: "model", limit: MAX_VALUE })
    );
    let file =
        "--b\r\nContent-Disposition: form-data; name=\"model\"; filename=\"f\"\r\n\r\nx\r\n--b--";
    assert_eq!(scan(file.as_bytes()).map_err(|e| e.code()), Err(Some("invalid_type")));
}

#[test]
fn a_boundary_is_read_from_the_content_type() {
    for (content_type, found) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"", Some("a b")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary=\"a\r\n\"", None),
        ("multipart/mixed; boundary=a", None),
        ("application/json", None),
    ] {
        assert_eq!(boundary(content_type).ok().as_deref(), found, "{content_type}");
    }
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let mut scanner = Scanner::new(TYPE).expect("a scanner");
    scanner
        .push(b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n")
        .expect("headers");
    for _ in 0..1000 {
        scanner.push(&[b'\n'; 5000]).expect("a file");
        assert!(scanner.rest.len() <= 16);
    }
    assert!(!scanner.is_ready());
    let mut scanner = Scanner::new(TYPE).expect("a scanner");
    let endless = [b'a'; 5000];
    let pushed = [&b"--b\r\n"[..], &endless, &endless].map(|chunk| scanner.push(chunk).is_ok());
    assert_eq!(pushed, [true, true, false]);
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same(
        parts in proptest::collection::vec(
            (0usize..7, "[\r\nb-]{0,12}", any::<bool>(), 0usize..9000), 0..6),
        cuts in proptest::collection::vec(0usize..20_000, 0..12),
        ending in prop_oneof![Just("--b--"), Just("--b--\r\n"), Just("--b"), Just("")],
    ) {
        let names = ["model", "n", "prompt", "x", "stream", "url", "size"];
        let mut form = String::new();
        for (name, value, is_file, padding) in &parts {
            let value = value.clone() + &".".repeat(if *is_file { *padding } else { 3 });
            form += &if *is_file { file(&value) } else { part(names[*name], &value) };
        }
        form += ending;
        let whole = scan(form.as_bytes());
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(form.len())).collect();
        cuts.push(form.len());
        cuts.sort_unstable();
        let mut scanner = Scanner::new(TYPE).expect("a scanner");
        let mut from = 0;
        let mut pushed = Ok(());
        for cut in cuts {
            pushed = pushed.and_then(|()| scanner.push(&form.as_bytes()[from..cut]));
            from = cut;
        }
        prop_assert_eq!(pushed.and_then(|()| scanner.finish()), whole);
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes: Vec<u8>, text in "(--b|\r\n|Content-Disposition: form-data|; name=|\"model\"|\"|--|x){0,20}",
        content_type: String, step in 1usize..40,
    ) {
        let _ = boundary(&content_type);
        let _ = boundary(&format!("multipart/form-data;{content_type}"));
        for input in [&bytes[..], text.as_bytes(), format!("--b\r\n{text}").as_bytes()] {
            let mut scanner = Scanner::new(TYPE).expect("a scanner");
            let pushed = input.chunks(step).try_for_each(|chunk| scanner.push(chunk));
            let stepped = pushed.and_then(|()| scanner.finish());
            prop_assert_eq!(stepped, scan(input));
        }
    }
}
