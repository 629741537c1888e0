import CUTF8Proc

/// The four Unicode normalization forms (UAX #15).
struct UnicodeForm: Normalizer {
    enum Form: Sendable { case nfc, nfd, nfkc, nfkd }

    private let compatible: Bool
    private let composes: Bool

    init(_ form: Form) {
        compatible = form == .nfkc || form == .nfkd
        composes = form == .nfc || form == .nfkc
    }

    private struct Change {
        var character: CharacterChange
        var combiningClass: UInt8
    }

    func normalize(_ text: AlignedText) throws -> AlignedText {
        // ASCII is its own normal form, and so is everything below U+0300 when composed.
        let limit: UInt8 = composes && !compatible ? 0xCC : 0x80
        guard text.bytes.contains(where: { $0 >= limit }) else { return text }
        var changes: [Change] = []
        text.forEachScalar(in: 0..<text.count) { scalar, _ in decompose(scalar, into: &changes) }
        order(&changes)
        if composes { changes = compose(changes) }
        return text.applying(changes.lazy.map(\.character))
    }

    private func decompose(_ scalar: Unicode.Scalar, into changes: inout [Change]) {
        let options =
            compatible
            ? UTF8PROC_DECOMPOSE.rawValue | UTF8PROC_COMPAT.rawValue : UTF8PROC_DECOMPOSE.rawValue
        var buffer = [Int32](repeating: 0, count: 32)
        var boundary: Int32 = 0
        let count = utf8proc_decompose_char(
            Int32(bitPattern: scalar.value), &buffer, buffer.count,
            utf8proc_option_t(rawValue: options), &boundary)
        guard count > 0, count <= buffer.count else {
            append(scalar.value, shift: 0, to: &changes)
            return
        }
        for i in 0..<count {
            append(UInt32(bitPattern: buffer[i]), shift: i == 0 ? 0 : 1, to: &changes)
        }
    }

    private func append(_ scalar: UInt32, shift: Int, to changes: inout [Change]) {
        changes.append(
            Change(
                character: CharacterChange(scalar: scalar, shift: shift),
                combiningClass: combiningClass(scalar)))
    }

    private func combiningClass(_ scalar: UInt32) -> UInt8 {
        UInt8(
            truncatingIfNeeded: utf8proc_get_property(Int32(bitPattern: scalar)).pointee
                .combining_class)
    }

    /// Canonical ordering: runs of combining characters are sorted by class, equal classes keep
    /// their order.
    private func order(_ changes: inout [Change]) {
        var start = 0
        while start < changes.count {
            guard changes[start].combiningClass != 0 else {
                start += 1
                continue
            }
            var end = start
            while end < changes.count, changes[end].combiningClass != 0 { end += 1 }
            let run = changes[start..<end].enumerated().sorted {
                ($0.element.combiningClass, $0.offset) < ($1.element.combiningClass, $1.offset)
            }
            for (i, item) in run.enumerated() { changes[start + i] = item.element }
            start = end
        }
    }

    /// Canonical composition: a character joins the last starter unless something stands between.
    private func compose(_ changes: [Change]) -> [Change] {
        var out: [Change] = []
        var starter: Int?
        var lastClass: UInt8 = 0
        for change in changes {
            let isBlocked =
                starter.map { out.count > $0 + 1 && lastClass >= change.combiningClass } ?? true
            if let at = starter, !isBlocked,
                let both = composed(out[at].character.scalar, change.character.scalar)
            {
                out[at].character.scalar = both
                out[at].character.shift += change.character.shift - 1
                continue
            }
            if change.combiningClass == 0 { starter = out.count }
            lastClass = change.combiningClass
            out.append(change)
        }
        return out
    }

    private func composed(_ first: UInt32, _ second: UInt32) -> UInt32? {
        var pair = [Int32(bitPattern: first), Int32(bitPattern: second)]
        let options = utf8proc_option_t(
            rawValue: UTF8PROC_COMPOSE.rawValue | UTF8PROC_STABLE.rawValue)
        return utf8proc_normalize_utf32(&pair, 2, options) == 1 ? UInt32(bitPattern: pair[0]) : nil
    }
}
