//~ `Opaque` cannot be handed to a handler
//~ implement `fastmcp::FromContext` for `Opaque`; for a value that the server was given write `State<Opaque>`
use fastmcp::prelude::*;

pub struct Opaque;

#[tool]
async fn show(#[inject] opaque: Opaque) -> String {
    let Opaque = opaque;
    String::new()
}
