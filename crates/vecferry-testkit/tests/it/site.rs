//! The site answers as it was told, and remembers what it was asked. Spoken to over a bare connection: a client of
//! its own would hide what is wrong on purpose.

use std::io::{Read, Write};
use std::net::TcpStream;

use vecferry_testkit::site::{Page, Site};

/// Everything the site sends to one request, until it closes the connection.
fn get(site: &Site, path: &str) -> String {
    let mut stream = TcpStream::connect(site.address()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nX-Test: 1\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    // A connection that breaks on purpose ends in an error or not, as the system likes.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn answers_come_in_their_order_and_the_last_one_stays() {
    let site = Site::start().unwrap();
    site.script("/a?b", vec![Page::status(503), Page::html("text").header("x-one", "1")]);
    assert!(get(&site, "/a?b").starts_with("HTTP/1.1 503"));
    for _ in 0..2 {
        let answer = get(&site, "/a?b");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\ntext"), "{answer}");
        assert!(answer.contains("x-one: 1") && answer.contains("charset=utf-8"), "{answer}");
    }
    assert!(get(&site, "/a").starts_with("HTTP/1.1 404"));
    assert_eq!((site.count("/a?b"), site.count("/a"), site.asked().len()), (3, 1, 4));
    assert_eq!((site.asked()[0].method.as_str(), site.asked()[0].header("x-test")), ("GET", "1"));
}

#[test]
fn a_cut_page_announces_more_than_it_sends() {
    let site = Site::start().unwrap();
    site.put("/", Page::cut("half"));
    let answer = get(&site, "/");
    assert!(
        answer.contains("content-length: 1004") && answer.ends_with("\r\n\r\nhalf"),
        "{answer}"
    );
}

#[test]
fn what_never_ends_flows_until_the_site_goes_and_then_the_port_is_free() {
    let site = Site::start().unwrap();
    let address = site.address();
    site.put("/endless", Page::endless());
    site.put("/drip", Page::drip());
    site.put("/silent", Page::silent());
    let mut open = Vec::new();
    for (path, bytes) in [("/endless", 1 << 20), ("/drip", 200), ("/silent", 0)] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.read_exact(&mut vec![0; bytes]).unwrap();
        open.push(stream);
    }
    drop(site);
    for mut stream in open {
        // Ends, well or broken, instead of waiting for more.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(TcpStream::connect(address).is_err());
}
