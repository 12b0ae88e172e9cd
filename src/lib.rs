#![doc = "Unbreakable Boot System."]

pub mod domain;
pub mod manifest;
pub mod sandbox;
