//! A handler for version 0.2.0 of the contract, which this host does not know: it must be refused by that version.

#[allow(unsafe_code, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package tidegate:plugin@0.2.0;
            interface handler {
                handle: func(payload: list<u8>) -> result<list<u8>, string>;
            }
            world worker {
                export handler;
            }
        ",
        world: "worker",
    });
    export!(Handler with_types_in self);
    use super::Handler;
}

use bindings::exports::tidegate::plugin::handler::Guest;

struct Handler;

impl Guest for Handler {
    fn handle(payload: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok(payload)
    }
}
