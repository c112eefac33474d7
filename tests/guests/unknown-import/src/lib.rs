//! A handler that imports an interface no host has: it must be refused by the name of the import.

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package probe:unknown@1.0.0;
            interface secrets {
                reveal: func(name: string) -> string;
            }
            world probe {
                import secrets;
                include tidegate:plugin/worker@0.1.3;
            }
        ",
        world: "probe:unknown/probe@1.0.0",
        generate_all,
    });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::handler::{Delivery, Failure, Guest, Response};
use bindings::probe::unknown::secrets;

struct Handler;

impl Guest for Handler {
    fn handle(delivery: Delivery) -> Result<Response, Failure> {
        let secret = secrets::reveal(&delivery.subject);
        Ok(Response { reply: Some(secret.into_bytes()), publications: Vec::new() })
    }
}
