/* This file is what is known of a ledger's file without SQLite, for who brings one back while no
 * front runs (api/cli/ledger_cmd.c). Data only; nothing here opens one.
 */
#pragma once

enum {
    LEDGER_APPLICATION_ID = 0x62727468, /* "brth" */
    LEDGER_SCHEMA_LATEST = 10,          /* migrations that this berth knows */

    /* In the file's first 100 bytes, big-endian (SQLite's file format, 1.3). */
    LEDGER_HEADER_SIZE = 100,
    LEDGER_AT_VERSION = 60,
    LEDGER_AT_APPLICATION = 68,
};
#define LEDGER_MAGIC "SQLite format 3"

/* In the ledger's directory: the ledger; one that is to take its place at the next start; what had
 * its place before; a copy that is being made. */
#define LEDGER_NAME          "ledger"
#define LEDGER_NAME_RESTORE  "ledger.restore"
#define LEDGER_NAME_REPLACED "ledger.replaced"
#define LEDGER_NAME_BACKUP   "ledger.backup"
