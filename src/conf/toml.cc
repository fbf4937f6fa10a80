/*
 * The one file that sees the C++ library. It is compiled in from its headers, whatever the package
 * offers, because only that form can report mistakes without throwing.
 */
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
/*
 * Some of the library's assertions are about the text: a header like "[,a]" meets one just before
 * the code that reports the mistake. They must neither end a running server at a reload, nor become
 * promises to the compiler, as NDEBUG would make them.
 */
#undef NDEBUG
#define TOML_ASSERT(expr)               static_cast<void>(0)
#define TOML_HEADER_ONLY                1
#define TOML_EXCEPTIONS                 0
#define TOML_ENABLE_FORMATTERS          0
#define TOML_ENABLE_UNRELEASED_FEATURES 0
#define TOML_MAX_NESTED_VALUES          5 /* see line_max */
#include <toml++/toml.h>

#include "conf/toml.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <memory>
#include <new>
#include <string>

struct toml_doc {
    std::deque<toml_node> nodes; /* a deque: what it holds never moves */
    std::deque<std::string> strings;
    toml_node *root = nullptr;
};

namespace
{

/*
 * The library frees its tree by recursion, and each dot of a key is a level of it: bounded lines
 * and few nested values keep that far from the end of the stack.
 */
constexpr size_t line_max = 8192;

toml_place place_of(const toml::source_position &at)
{
    return {static_cast<unsigned>(at.line), static_cast<unsigned>(at.column)};
}

const std::string &keep(toml_doc &doc, std::string_view text)
{
    return doc.strings.emplace_back(text);
}

toml_kind kind_of(const toml::node &from)
{
    switch (from.type()) {
    case toml::node_type::table:
        return TOML_KIND_TABLE;
    case toml::node_type::array:
        return TOML_KIND_ARRAY;
    case toml::node_type::string:
        return TOML_KIND_STRING;
    case toml::node_type::integer:
        return TOML_KIND_INTEGER;
    case toml::node_type::floating_point:
        return TOML_KIND_FLOAT;
    case toml::node_type::boolean:
        return TOML_KIND_BOOL;
    default:
        return TOML_KIND_TIME;
    }
}

toml_node *convert(toml_doc &doc, const toml::node &from, unsigned depth)
{
    toml_node &to = doc.nodes.emplace_back(toml_node{});
    to.kind = kind_of(from);
    to.place = place_of(from.source().begin);
    if (auto text = from.as_string()) {
        const std::string &kept = keep(doc, text->get());
        to.string = kept.c_str();
        to.string_len = kept.size();
    } else if (auto number = from.as_integer()) {
        to.integer = number->get();
    } else if (auto truth = from.as_boolean()) {
        to.boolean = truth->get();
    }
    if (depth == TOML_DEPTH_MAX)
        return &to;

    toml_node **end = &to.child;
    if (auto table = from.as_table()) {
        for (auto &&[key, value] : *table) {
            toml_node *child = convert(doc, value, depth + 1);
            const std::string &kept = keep(doc, key.str());
            child->name = kept.c_str();
            child->name_len = kept.size();
            child->key = place_of(key.source().begin);
            *end = child;
            end = &child->sibling;
        }
    } else if (auto array = from.as_array()) {
        for (const toml::node &value : *array) {
            *end = convert(doc, value, depth + 1);
            end = &(*end)->sibling;
        }
    }
    return &to;
}

/* The number of the first line above line_max, or 0. */
unsigned find_long_line(std::string_view text)
{
    unsigned line = 1;
    for (size_t at = 0; at < text.size(); line++) {
        const size_t end = std::min(text.find('\n', at), text.size());
        if (end - at > line_max)
            return line;
        at = end + 1;
    }
    return 0;
}

int parse(toml_doc **ret, std::string_view text, toml_error *ret_error)
{
    if (const unsigned line = find_long_line(text)) {
        ret_error->place = {line, 1};
        snprintf(ret_error->text, sizeof(ret_error->text),
                 "the line is too long, expected at most %zu bytes", line_max);
        return -EINVAL;
    }
    const toml::parse_result result = toml::parse(text);
    if (result.failed()) {
        const toml::parse_error &error = result.error();
        const std::string_view what = error.description();
        ret_error->place = place_of(error.source().begin);
        snprintf(ret_error->text, sizeof(ret_error->text), "%.*s", static_cast<int>(what.size()),
                 what.data());
        /* It follows a file name in our sentence. */
        ret_error->text[0] =
            static_cast<char>(tolower(static_cast<unsigned char>(ret_error->text[0])));
        return -EINVAL;
    }
    auto doc = std::make_unique<toml_doc>();
    doc->root = convert(*doc, result.table(), 0);
    *ret = doc.release();
    return 0;
}

} // namespace

extern "C" int toml_parse(struct toml_doc **ret, const char *text, size_t len,
                          struct toml_error *ret_error)
{
    try {
        return parse(ret, std::string_view(text, len), ret_error);
    } catch (...) {
        return -ENOMEM; /* nothing else is thrown */
    }
}

extern "C" void toml_free(struct toml_doc *doc)
{
    delete doc;
}

extern "C" const struct toml_node *toml_root(const struct toml_doc *doc)
{
    return doc->root;
}
