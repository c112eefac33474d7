// A handler: replies with the text in capitals, and publishes it.
//
// What it returns decides what becomes of the message: see `wit/handler.wit`. What it hands over in `response` and
// `failure` is freed by the bindings.

#include <stdlib.h>
#include <string.h>

#include "worker.h"

// Where the text goes. The host has to be told that it may: `--grant-publish new-handler.out`.
#define OUT "new-handler.out"

typedef exports_tidegate_plugin_handler_delivery_t delivery_t;
typedef exports_tidegate_plugin_handler_response_t response_t;
typedef exports_tidegate_plugin_handler_failure_t failure_t;
typedef exports_tidegate_plugin_handler_publication_t publication_t;

static worker_list_u8_t capitals(const worker_list_u8_t *text) {
  worker_list_u8_t loud = {malloc(text->len), text->len};
  if (!loud.ptr) abort();
  for (size_t i = 0; i < text->len; i++) {
    uint8_t c = text->ptr[i];
    loud.ptr[i] = c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
  }
  return loud;
}

// What can never be handled is rejected: it becomes a dead letter with this reason.
static bool reject(failure_t *failure, const char *reason) {
  failure->tag = EXPORTS_TIDEGATE_PLUGIN_HANDLER_FAILURE_REJECT;
  worker_string_dup(&failure->val.reject, reason);
  return false;
}

// What may succeed later is retried; `is_some = false` leaves the delay to the configuration.
static bool retry(failure_t *failure, uint64_t milliseconds) {
  failure->tag = EXPORTS_TIDEGATE_PLUGIN_HANDLER_FAILURE_RETRY;
  failure->val.retry.is_some = true;
  failure->val.retry.val = milliseconds;
  return false;
}

static bool answer(const delivery_t *delivery, response_t *response, failure_t *failure) {
  const worker_list_u8_t *text = &delivery->payload;
  if (text->len == 0) return reject(failure, "the payload is empty");
  if (text->len == 5 && memcmp(text->ptr, "later", 5) == 0 && delivery->attempt == 1) return retry(failure, 500);
  // Publications are stored before the message is acknowledged, and the reply goes to whoever waits for one.
  publication_t *publication = calloc(1, sizeof *publication);
  if (!publication) abort();
  worker_string_dup(&publication->subject, OUT);
  publication->payload = capitals(text);
  response->reply.is_some = true;
  response->reply.val = capitals(text);
  response->publications.ptr = publication;
  response->publications.len = 1;
  return true;
}

bool exports_tidegate_plugin_handler_handle(delivery_t *delivery, response_t *response, failure_t *failure) {
  bool handled = answer(delivery, response, failure);
  exports_tidegate_plugin_handler_delivery_free(delivery);
  return handled;
}
