import CPCRE2
import KeelCore

/// A compiled regular expression over UTF-8 bytes; one object may serve several threads at once.
///
/// Patterns of tokenizer.json are written for Oniguruma. What PCRE2 reads differently is translated
/// (`\s`, `\w`, `\d`, `\h`) or refused (sets inside sets).
package final class PCRE: @unchecked Sendable {
    private let code: OpaquePointer
    private let hasJIT: Bool
    package let pattern: String

    /// - Throws: `KeelError` (badData) naming the place in the pattern.
    package init(_ pattern: String, at place: String) throws {
        let translated = Array(try PCRE.translate(pattern, at: place).utf8)
        var number: Int32 = 0
        var offset = 0
        let options =
            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK
        guard
            let code = pcre2_compile_8(translated, translated.count, options, &number, &offset, nil)
        else {
            throw KeelError(
                "tokenizer", "the regular expression does not compile: \(PCRE.message(number))",
                at: "\(place), at byte \(offset) of \(PCRE.quoted(pattern))",
                fix: "check the pattern in tokenizer.json", code: .badData)
        }
        self.code = code
        self.pattern = pattern
        hasJIT = pcre2_jit_compile_8(code, PCRE2_JIT_COMPLETE) == 0
    }

    deinit { pcre2_code_free_8(code) }

    /// Appends the places of all matches inside `bytes[range]`, in order and without overlap.
    ///
    /// The pattern sees nothing outside the range. Empty matches are left out.
    /// - Throws: `KeelError` (badData) when the pattern needs more steps or memory than allowed.
    package func matches(
        in bytes: [UInt8], _ range: Range<Int>, into found: inout [Range<Int>]
    ) throws {
        guard let data = pcre2_match_data_create_from_pattern_8(code, nil) else {
            throw KeelError("tokenizer", "out of memory in a regular expression", code: .io)
        }
        defer { pcre2_match_data_free_8(data) }
        let failure = bytes.withUnsafeBufferPointer { all -> Int32 in
            let subject = UnsafeBufferPointer(rebasing: all[range])
            guard let base = subject.baseAddress, !subject.isEmpty else { return 0 }
            var at = 0
            while at < subject.count {
                var result = match(base, subject.count, at, data, jit: hasJIT)
                if result == PCRE2_ERROR_JIT_STACKLIMIT {
                    result = match(base, subject.count, at, data, jit: false)
                }
                if result == PCRE2_ERROR_NOMATCH { return 0 }
                guard result >= 0, let ends = pcre2_get_ovector_pointer_8(data) else {
                    return result
                }
                let (start, end) = (ends[0], ends[1])
                guard start >= at, end >= start, end <= subject.count else {
                    return PCRE2_ERROR_INTERNAL
                }
                if end > start {
                    found.append((range.lowerBound + start)..<(range.lowerBound + end))
                    at = end
                } else {
                    // Nothing matched here: look again from the next character.
                    at = end + 1
                    while at < subject.count, subject[at] & 0xC0 == 0x80 { at += 1 }
                }
            }
            return 0
        }
        if failure < 0 {
            throw KeelError(
                "tokenizer", "a regular expression gave up: \(PCRE.message(failure))",
                at: PCRE.quoted(pattern), fix: "use a simpler pattern, or shorter texts",
                code: .badData)
        }
    }

    private func match(
        _ base: UnsafePointer<UInt8>, _ count: Int, _ at: Int, _ data: OpaquePointer, jit: Bool
    ) -> Int32 {
        jit
            ? pcre2_jit_match_8(code, base, count, at, 0, data, nil)
            : pcre2_match_8(code, base, count, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, nil)
    }

    private static func message(_ number: Int32) -> String {
        var text = [UInt8](repeating: 0, count: 256)
        let count = pcre2_get_error_message_8(number, &text, text.count)
        return count > 0
            ? String(decoding: text.prefix(Int(count)), as: UTF8.self) : "error \(number)"
    }

    private static func quoted(_ pattern: String) -> String {
        pattern.utf8.count > 80 ? "\"\(pattern.prefix(80))...\"" : "\"\(pattern)\""
    }
}

// MARK: - From Oniguruma's spelling to PCRE2's

extension PCRE {
    /// Unicode's White_Space, as the inside of a set.
    ///
    /// PCRE2's own `\s` also takes U+180E.
    private static let space =
        #"\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"#
    private static let word = #"\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}"#

    /// Rewrites the shorthand classes whose meaning differs; everything else stays as it is.
    static func translate(_ pattern: String, at place: String) throws -> String {
        var out = ""
        var insideSet = false
        var setStart = false
        var insideName = false
        var scalars = pattern.unicodeScalars.makeIterator()
        var pending: Unicode.Scalar?
        while let scalar = pending ?? scalars.next() {
            pending = nil
            let isFirst = setStart
            setStart = false
            switch scalar {
            case "\\":
                guard let next = scalars.next() else { return out + "\\" }
                guard let inside = shorthand(next) else {
                    out.unicodeScalars.append(contentsOf: [scalar, next])
                    continue
                }
                if inside.isNegated, insideSet {
                    // PCRE2's own class differs in U+180E and a few marks; it has no exact
                    // spelling.
                    guard next != "H" else { throw refused("\\H inside a set", pattern, place) }
                    out.unicodeScalars.append(contentsOf: [scalar, next])
                } else {
                    out += insideSet ? inside.set : "[\(inside.isNegated ? "^" : "")\(inside.set)]"
                }
            case "[" where insideSet:
                pending = scalars.next()
                guard pending == ":" else { throw refused("a set inside a set", pattern, place) }
                insideName = true
                out.unicodeScalars.append(scalar)
            case "]" where insideName:
                insideName = false
                out.unicodeScalars.append(scalar)
            case "[":
                insideSet = true
                setStart = true
                out.unicodeScalars.append(scalar)
            case "^" where isFirst:
                setStart = true
                out.unicodeScalars.append(scalar)
            case "]" where insideSet && !isFirst:
                insideSet = false
                out.unicodeScalars.append(scalar)
            case "&" where insideSet:
                pending = scalars.next()
                if pending == "&" { throw refused("&& inside a set", pattern, place) }
                out.unicodeScalars.append(scalar)
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }

    private static func shorthand(_ letter: Unicode.Scalar) -> (set: String, isNegated: Bool)? {
        switch letter {
        case "s": (space, false)
        case "S": (space, true)
        case "w": (word, false)
        case "W": (word, true)
        case "d": (#"\p{Nd}"#, false)
        case "D": (#"\p{Nd}"#, true)
        case "h": ("0-9a-fA-F", false)
        case "H": ("0-9a-fA-F", true)
        default: nil
        }
    }

    private static func refused(_ what: String, _ pattern: String, _ place: String) -> KeelError {
        KeelError(
            "tokenizer", "the regular expression uses \(what), which is not supported",
            at: "\(place), in \(quoted(pattern))",
            fix: "spell the set out in tokenizer.json", code: .badData)
    }
}
