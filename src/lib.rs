#![doc = "Unbreakable Boot System."]

pub mod domain;
pub mod kernel;
pub mod manifest;
pub mod sandbox;
pub mod supervise;
