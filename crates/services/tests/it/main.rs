//! The servers start, answer, fail and come back.

use std::net::TcpStream;

use fastmcp_services::{Postgres, Redis};

fn is_there(url: &str) -> bool {
    let address = url.split(['@', '/']).find(|part| part.starts_with("127."));
    address.is_some_and(|address| TcpStream::connect(address).is_ok())
}

#[test]
fn redis_comes_goes_and_comes_back() {
    let mut redis = Redis::start().unwrap();
    let url = redis.url();
    assert!(is_there(&url));
    redis.stop();
    assert!(!is_there(&url));
    redis.start_again().unwrap();
    assert_eq!(redis.url(), url);
    assert!(is_there(&url));
    drop(redis);
    assert!(!is_there(&url));
}

#[test]
fn redis_over_tls_has_an_authority_of_its_own() {
    let mut redis = Redis::start_tls().unwrap();
    let url = redis.url();
    assert!(url.starts_with("rediss://127.0.0.1:") && is_there(&url));
    let authority = redis.authority().unwrap().to_owned();
    assert!(authority.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_ne!(Redis::start_tls().unwrap().authority(), Some(&*authority));
    redis.stop();
    redis.start_again().unwrap();
    assert!(is_there(&url));
    assert_eq!((redis.url(), redis.authority()), (url, Some(&*authority)));
}

#[test]
fn postgres_comes_goes_and_comes_back() {
    let mut postgres = Postgres::start().unwrap();
    let url = postgres.url();
    assert!(is_there(&url));
    postgres.stop();
    assert!(!is_there(&url));
    postgres.start_again().unwrap();
    assert_eq!(postgres.url(), url);
    assert!(is_there(&url));
    let other = Postgres::start().unwrap();
    assert_ne!(other.url(), url);
    drop(postgres);
    assert!(!is_there(&url));
}
