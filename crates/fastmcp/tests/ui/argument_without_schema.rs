//~ `Opaque` cannot be an argument
//~ derive `Deserialize` and `JsonSchema` for `Opaque`
//~ `#[inject]` hands in what is `FromContext`, `State<Opaque>` what the server was given
use fastmcp::prelude::*;

pub struct Opaque;

#[tool]
async fn show(opaque: Opaque) -> String {
    let Opaque = opaque;
    String::new()
}
