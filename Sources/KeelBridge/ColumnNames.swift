/// The vocabulary of columns: what a name says about the column.
package enum ColumnNames {
    /// Columns of the current policy: gradients flow into them.
    static let differentiable: Set<String> = [
        "logprobs", "seq_logprobs", "mean_logprobs", "entropy", "values", "seq_values", "scores",
        "vocab_logprobs",
    ]
    /// Columns that describe the batch itself; every batch may carry them, declared or not.
    static let structural: Set<String> = [
        "mask", "weight", "group", "length", "tokens", "finished", "valid",
    ]
    static let sides = ["chosen", "rejected", "mismatched"]

    /// `chosen.seq_logprobs` -> (`chosen.`, `seq_logprobs`).
    package static func split(_ name: String) -> (prefix: String, base: String) {
        guard let dot = name.lastIndex(of: ".") else { return ("", name) }
        let next = name.index(after: dot)
        return (String(name[..<next]), String(name[next...]))
    }

    /// Whether gradients flow into the column.
    package static func isDifferentiable(_ name: String) -> Bool {
        differentiable.contains(split(name).base)
    }

    static func isStructural(_ name: String) -> Bool {
        structural.contains(split(name).base)
    }

    /// How a sequence column follows from a per-token one and its mask.
    struct Derivation: Equatable {
        var source: String
        var mask: String
        /// Divides by the number of trained tokens.
        var isMean: Bool
    }

    /// `chosen.ref_seq_logprobs` -> sum of `chosen.ref_logprobs` over `chosen.mask`.
    static func derivation(of name: String) -> Derivation? {
        let (prefix, base) = split(name)
        for (part, isMean) in [("seq_logprobs", false), ("mean_logprobs", true)] {
            if base == part || base.hasSuffix("_" + part) {
                let before = base.dropLast(part.count)  // "ref_", "old_" or ""
                return Derivation(
                    source: prefix + before + "logprobs", mask: prefix + "mask", isMean: isMean)
            }
        }
        return nil
    }
}

extension ColumnBatch {
    /// A column that is there or follows from others, as constants.
    package func column(_ name: String) -> Column? {
        if let column = columns[name] { return column }
        guard let rule = ColumnNames.derivation(of: name), let source = columns[rule.source],
            let mask = columns[rule.mask], source.shape == mask.shape, source.shape.count == 2
        else { return nil }
        let values = source.values
        let marks = mask.values
        let width = source.shape[1]
        return Column(
            (0..<source.shape[0]).map { row in
                var sum = 0.0
                var count = 0
                for cell in row * width..<(row + 1) * width where marks[cell] != 0 {
                    sum += values[cell]
                    count += 1
                }
                return rule.isMean ? (count == 0 ? 0 : sum / Double(count)) : sum
            })
    }

    /// Whether `column(name)` would find something, without computing it.
    package func hasColumn(_ name: String) -> Bool {
        if columns[name] != nil { return true }
        guard let rule = ColumnNames.derivation(of: name) else { return false }
        return columns[rule.source] != nil && columns[rule.mask] != nil
    }

    /// Names that are there, sorted; for messages.
    var names: [String] { columns.keys.sorted() }
}
