"""A handler: replies with the text in capitals, and publishes it.

What `handle` returns or raises decides what becomes of the message: see `wit/handler.wit`.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import Delivery, Failure_Reject, Failure_Retry, Publication, Response

# Where the text goes. The host has to be told that it may: `--grant-publish new-handler.out`.
OUT = "new-handler.out"


class Handler(exports.Handler):
    def handle(self, delivery: Delivery) -> Response:
        try:
            text = delivery.payload.decode()
        except UnicodeDecodeError:
            raise Err(Failure_Reject("the payload is not UTF-8")) from None
        # What can never be handled is rejected: it becomes a dead letter with this reason.
        if not text:
            raise Err(Failure_Reject("the payload is empty"))
        # What may succeed later is retried, here after half a second; None leaves the delay to the configuration.
        if text == "later" and delivery.attempt == 1:
            raise Err(Failure_Retry(500))
        loud = text.upper().encode()
        # Publications are stored before the message is acknowledged, and the reply goes to whoever waits for one.
        return Response(reply=loud, publications=[Publication(OUT, [], loud)])
