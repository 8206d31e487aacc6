//! What holds for every file of the dashboard, read from the files themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path as FilePath;

use actix_web::body::to_bytes;
use actix_web::http::{StatusCode, header};
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, dev::ServiceResponse};

use super::*;
use crate::provider::endpoint::Endpoint;

fn text(file: &File) -> &'static str {
    std::str::from_utf8(file.bytes).unwrap()
}

fn all() -> impl Iterator<Item = &'static File> {
    std::iter::once(&INDEX).chain(&ASSETS)
}

fn wait<T>(what: impl Future<Output = T>) -> T {
    actix_web::rt::System::new().block_on(what)
}

fn answer(request: TestRequest) -> ServiceResponse {
    wait(async {
        let app = init_service(App::new().configure(routes)).await;
        call_service(&app, request.to_request()).await
    })
}

fn header(response: &ServiceResponse, name: &header::HeaderName) -> String {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("{name} is missing"));
    value.to_str().unwrap().to_owned()
}

#[test]
fn every_file_is_served_with_its_type_its_tag_and_a_strict_policy() {
    for file in all() {
        let path = match file.path {
            "index.html" => "/".to_owned(),
            path => format!("/assets/{path}"),
        };
        let response = answer(TestRequest::get().uri(&path));
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&response, &header::CONTENT_TYPE), file.content_type);
        let policy = header(&response, &header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&response, &header::X_CONTENT_TYPE_OPTIONS), "nosniff");

        let tag = header(&response, &header::ETAG);
        assert_eq!(wait(to_bytes(response.into_body())).unwrap(), file.bytes);
        let again = TestRequest::get().uri(&path).insert_header((header::IF_NONE_MATCH, tag));
        let response = answer(again);
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        let other = TestRequest::get().uri(&path);
        let other = other.insert_header((header::IF_NONE_MATCH, "\"of another version\""));
        assert_eq!(answer(other).status(), StatusCode::OK, "{path}");
    }
}

#[test]
fn what_is_no_file_of_the_dashboard_is_not_found() {
    for path in ["/assets/", "/assets/none.js", "/assets/../Cargo.toml", "/assets/tests.rs", "/x"] {
        let response = answer(TestRequest::get().uri(path));
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[test]
fn every_file_in_the_folder_is_part_of_the_program() {
    fn collect(folder: &FilePath, root: &FilePath, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, root, found);
            } else if path.extension().is_some_and(|ending| ending != "rs") {
                found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard");
    let mut found = BTreeSet::new();
    collect(&root, &root, &mut found);
    let named: BTreeSet<_> = all().map(|file| file.path.to_owned()).collect();
    assert_eq!(found, named);
}

#[test]
fn no_file_names_another_host() {
    // The name of the SVG language, and what stands in examples for the reader's own gateway.
    const HARMLESS: [&str; 3] = ["http://www.w3.org/2000/svg", "http://${", "https?:"];
    for file in all() {
        let mut rest = text(file).to_owned();
        for harmless in HARMLESS {
            rest = rest.replace(harmless, "");
        }
        for mark in ["http://", "https://", "url(//", "src=\"//", "@import", "ws://", "wss://"] {
            assert!(!rest.contains(mark), "{} names another host: {mark}", file.path);
        }
    }
}

#[test]
fn nothing_is_inline_and_nothing_is_evaluated() {
    let page = text(&INDEX);
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" on"));
    for script in page.split("<script").skip(1) {
        let (attributes, rest) = script.split_once('>').unwrap();
        assert!(attributes.contains(" src=\"assets/"), "an inline script");
        assert!(rest.starts_with("</script>"), "an inline script");
    }
    for file in ASSETS.iter().filter(|file| file.content_type == SCRIPT) {
        for mark in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "sessionStorage",
            "indexedDB",
        ] {
            assert!(!text(file).contains(mark), "{} uses {mark}", file.path);
        }
    }
}

#[test]
fn every_module_is_reached_from_the_page_and_none_is_missing() {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = text(&INDEX)
        .split("\"assets/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect();
    while let Some(path) = waiting.pop() {
        if !reached.insert(path.clone()) {
            continue;
        }
        let file = ASSETS.iter().find(|file| file.path == path);
        let file = file.unwrap_or_else(|| panic!("{path} is missing"));
        if file.content_type != SCRIPT {
            continue;
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for named in text(file).split(" from \"").skip(1).filter_map(|rest| rest.split('"').next())
        {
            let joined = match named.strip_prefix("../") {
                Some(above) => above.to_owned(),
                None if folder.is_empty() => named.trim_start_matches("./").to_owned(),
                None => format!("{folder}/{}", named.trim_start_matches("./")),
            };
            waiting.push(joined);
        }
    }
    let all: BTreeSet<_> = ASSETS.iter().map(|file| file.path.to_owned()).collect();
    assert_eq!(reached, all);
}

#[test]
fn the_form_of_a_key_offers_every_endpoint_and_no_other() {
    let form = ASSETS.iter().find(|file| file.path == "pages/key-form.js").unwrap();
    let list = text(form).split("export const ENDPOINTS").nth(1).unwrap();
    let list = list.split("]);").next().unwrap();
    // Whose they are stands before each group.
    let words = list.split('"').skip(1).step_by(2);
    let offered: Vec<_> =
        words.filter(|word| !["OpenAI", "Anthropic", "Gemini", "Bedrock"].contains(word)).collect();
    assert_eq!(offered, Endpoint::ALL.map(Endpoint::name));
}
