#include "perf/load/arguments.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/trust.h"

bool arguments_fail(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, ARGUMENTS_WHY_MAX, format, args);
    va_end(args);
    return false;
}

/* ---- values ---- */

static bool parse_number(const struct argument *option, const char *text, int64_t *ret) {
    char *end;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || value < option->min || value > option->max) return false;
    *ret = value;
    return true;
}

static bool parse_seconds(const char *text, double *ret) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0) || value > 86400) return false;
    *ret = value;
    return true;
}

static bool parse_word(const struct argument *option, const char *text, int *ret) {
    const char *at = option->argument;
    for (int i = 0;; i++) {
        size_t size = strcspn(at, "|");
        if (strlen(text) == size && memcmp(text, at, size) == 0) {
            *ret = i;
            return true;
        }
        if (at[size] == '\0') return false;
        at += size + 1;
    }
}

static bool take_value(const struct argument *option, void *to, const char *text) {
    void *at = (uint8_t *)to + option->at;
    int64_t number;
    switch (option->kind) {
        case ARGUMENT_COUNT:
            if (!parse_number(option, text, &number)) return false;
            *(uint64_t *)at = (uint64_t)number;
            return true;
        case ARGUMENT_INT:
            if (!parse_number(option, text, &number)) return false;
            *(int *)at = (int)number;
            return true;
        case ARGUMENT_SECONDS: return parse_seconds(text, at);
        case ARGUMENT_TEXT: *(const char **)at = text; return true;
        case ARGUMENT_WORD: return parse_word(option, text, at);
        case ARGUMENT_TRUST: return trust_parse(at, text);
        case ARGUMENT_FLAG: break;
    }
    return false;
}

static bool refuse_value(const struct argument *option, const char *text, char *why) {
    if (option->kind == ARGUMENT_WORD) {
        return arguments_fail(why, "%s %s: it takes one of %s", option->name, text, option->argument);
    }
    if (option->kind != ARGUMENT_COUNT && option->kind != ARGUMENT_INT) {
        return arguments_fail(why, "%s %s: it takes %s", option->name, text, option->help);
    }
    return arguments_fail(why, "%s %s: it takes a number from %lld to %lld", option->name, text, (long long)option->min,
                          (long long)option->max);
}

/* ---- words ---- */

static const struct argument *find_option(const struct arguments *a, const char *word, const char **value) {
    for (size_t i = 0; i < a->count; i++) {
        size_t size = strlen(a->table[i].name);
        if (strncmp(word, a->table[i].name, size) != 0 || (word[size] != '\0' && word[size] != '=')) continue;
        *value = word[size] == '=' ? word + size + 1 : NULL;
        return &a->table[i];
    }
    return NULL;
}

bool arguments_take(const struct arguments *a, int argc, char **argv, int *idx, char *why) {
    const char *word = argv[*idx], *value;
    const struct argument *option = find_option(a, word, &value);
    if (option == NULL || !(option->commands & 1u << a->command)) {
        return arguments_fail(why, "%s has no use for %s", a->command_name, word);
    }
    if (option->kind == ARGUMENT_FLAG) {
        *(bool *)(void *)((uint8_t *)a->to + option->at) = true;
        return value == NULL || arguments_fail(why, "%s takes no value", option->name);
    }
    if (value == NULL && *idx + 1 < argc) value = argv[++*idx];
    if (value == NULL) return arguments_fail(why, "%s needs a value", option->name);
    return take_value(option, a->to, value) || refuse_value(option, value, why);
}

void arguments_print(const struct arguments *a) {
    for (size_t i = 0; i < a->count; i++) {
        char name[64];
        if (!(a->table[i].commands & 1u << a->command)) continue;
        snprintf(name, sizeof(name), "%s %s", a->table[i].name, a->table[i].argument);
        printf("  %-24s %s\n", name, a->table[i].help);
    }
}
