// The handler as a program of this machine. Of the bindings it needs only these two.

#include <stdio.h>

#include "handler.c"

void exports_tidegate_plugin_handler_delivery_free(delivery_t *delivery) { (void)delivery; }
void worker_string_dup(worker_string_t *copy, const char *text) {
  copy->len = strlen(text);
  copy->ptr = malloc(copy->len);
  memcpy(copy->ptr, text, copy->len);
}

static response_t response;
static failure_t failure;

static bool call(const char *payload, uint32_t attempt) {
  delivery_t delivery = {.payload = {(uint8_t *)payload, strlen(payload)}, .attempt = attempt};
  return exports_tidegate_plugin_handler_handle(&delivery, &response, &failure);
}

static void check(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "failed: %s\n", what);
  exit(1);
}

int main(void) {
  check(call("hello tide", 1) && memcmp(response.reply.val.ptr, "HELLO TIDE", 10) == 0, "the reply is in capitals");
  check(response.publications.len == 1, "it is published");
  check(!call("", 1) && failure.tag == EXPORTS_TIDEGATE_PLUGIN_HANDLER_FAILURE_REJECT, "an empty payload is rejected");
  check(!call("later", 1) && failure.val.retry.val == 500, "a retry is asked for");
  check(call("later", 2), "the second attempt succeeds");
  puts("ok");
  return 0;
}
