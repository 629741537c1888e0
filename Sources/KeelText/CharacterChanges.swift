/// A character of a rewritten text and how many characters it stands for, less one.
///
/// +1: it was added behind its neighbour; 0: it replaces one; -n: n more than one went into it.
struct CharacterChange {
    var scalar: UInt32
    var shift: Int
}

extension AlignedText {
    /// The text that changes make of this one: every new character gets the origin of the one it replaces, or
    /// of the one before it.
    func applying(_ changes: some Sequence<CharacterChange>) -> AlignedText {
        var places: [Int] = []
        forEachScalar(in: 0..<count) { _, at in places.append(at) }
        var out = AlignedText(tracksOrigins: tracksOrigins)
        var next = 0
        for change in changes {
            let from = change.shift > 0 ? max(next - 1, 0) : next
            let origin =
                places.indices.contains(from) ? origin(places[from]) : Origin(start: 0, end: 0)
            out.append(Unicode.Scalar(change.scalar) ?? "\u{FFFD}", origin)
            if change.shift <= 0 { next += 1 - change.shift }
        }
        return out
    }

    /// Only the characters that `keep` wants.
    func filtered(_ keep: (Unicode.Scalar) -> Bool) -> AlignedText {
        var out = AlignedText(tracksOrigins: tracksOrigins)
        forEachScalar(in: 0..<count) { scalar, at in
            if keep(scalar) { out.append(scalar, origin(at)) }
        }
        return out
    }

    /// Every character replaced by others, which come from where it came from.
    func mapped(_ change: (Unicode.Scalar, (Unicode.Scalar) -> Void) -> Void) -> AlignedText {
        var out = AlignedText(tracksOrigins: tracksOrigins)
        forEachScalar(in: 0..<count) { scalar, at in
            change(scalar) { out.append($0, origin(at)) }
        }
        return out
    }
}
