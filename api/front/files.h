/* This file is what the operations on files share; only api/front/files*.c include it.
 * Unprivileged.
 */
#pragma once

#include "api/front/front.h"
#include "runtime/base/sha256.h"

struct file_call {
    struct front_call *call;
    struct files_request request;
    int pipe; /* our end; -1 */
    struct loop_watch *watch;
    void (*begin)(void *data, const struct files_begin *begin); /* of a read; NULL */
    bool begun, partial, ended;
    struct err why;   /* a watch is over */
    int64_t session;  /* of a collection: which life of its name it was made in */
    size_t held;      /* of an archive: bytes in list.raw that the client has no room for */
    uint64_t entries; /* that came with one */
    struct files_stat stat;
    uint64_t length;       /* of a read: bytes that are sent */
    bool body_whole, done; /* of a write */
    int spool;             /* of a write whose length is not known: its bytes; -1 */
    uint64_t spooled;      /* how many; counted in front->spooled_bytes too */
    struct sha256 *hash;   /* of an upload: of what has been kept; NULL */
    struct file_call *next_spool;
    struct {
        struct buf raw;     /* bytes that are no whole record yet */
        struct buf entries; /* the array of the document, without its brackets */
        char last[FILES_PATH_MAX];
        uint32_t count;
        uint64_t skipped;
        struct buf left_out; /* of a collection: the array of what is none of it */
        uint32_t left_out_count;
        uint64_t bytes; /* of its files */
        bool ended, done, more, broken;
    } list;
};

/* NULL: refused. The path must be there; `pointer`: where it is in the body, or NULL. */
struct file_call *front_file_call_new(struct front_call *call, enum files_operation operation,
                                      const char *path, const char *pointer);
/* Our end in file->pipe, the worker's in *ret_worker, to be given to front_file_ask(). Negative:
 * refused.
 */
int front_file_pipe(struct file_call *file, bool reads, int *ret_worker);
void front_file_ask(struct file_call *file, int data_in, int data_out,
                    void (*done)(void *data, const struct provider_files_reply *reply));
/* What is done to files takes no key. True: the call is refused. */
bool front_file_refuse_key(struct front_call *call);
/* `function` when file->pipe can be read or written; in place of what watched before. Negative:
 * refused. */
int front_file_watch(struct file_call *file, void (*function)(void *owner, unsigned events),
                     unsigned events);
bool front_file_refused(struct front_call *call, const struct provider_files_reply *reply);
void front_file_release(struct front_call *call);
/* A write whose length its client does not say: files_spool.c. What all of these together keep on
 * the disk, and so each of them, has a bound. */
#define FRONT_SPOOLED_MAX (UINT64_C(4) << 30)
/* Of those that come over TCP, so that the socket's owner always has room; and of one token. */
#define FRONT_SPOOLED_TCP_MAX   (FRONT_SPOOLED_MAX / 4 * 3)
#define FRONT_SPOOLED_TOKEN_MAX (FRONT_SPOOLED_MAX / 4)
void front_file_spool(struct file_call *file);
void front_file_unspool(struct file_call *file);
void front_file_write(struct file_call *file, int worker);
void front_file_uploaded(struct file_call *file); /* files_upload.c: what is answered */
const char *front_file_type_name(uint32_t type);
