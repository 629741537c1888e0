import KeelPlugin

/// How little a response repeats itself, by the share of its n-grams that are different.
///
/// Three definitions are in use, and comparing across them is meaningless (`keel eval` prints the first two for whole
/// sets of texts, `distinct_n_corpus` and `distinct_n_per_word`):
///
///     corpus     different n-grams / all n-grams       words: lower-cased, split on any white space
///     per_word   different n-grams / all words         words: case kept, split on single spaces
///     tokens     different n-grams / all n-grams       of token ids (TRL's repetition penalty)
///
/// `score: distinct` gives that share d, `score: repeated` gives 1 - d; TRL's penalty is `repeated` with a negative
/// weight. Where there is no n-gram nothing is repeated: d = 1, but an empty response has d = 0.
struct Repetition: Reward {
    static let name = "repetition"
    static let help = "Share of different (or repeated) n-grams of a response."

    enum Measure: String, CaseIterable {
        case corpus
        case perWord = "per_word"
        case tokens
    }

    enum Direction: String, CaseIterable { case distinct, repeated }

    @Param("n", 1...16, "Words, or tokens, of an n-gram.")
    var n = 3

    @Param("measure", "Which definition: of what, divided by what.")
    var measure = Measure.corpus

    @Param("score", "Share of different n-grams, or one minus it.")
    var direction = Direction.distinct

    func score(_ sample: Sample) -> Double? {
        let share: Double
        switch measure {
        case .corpus:
            let words = sample.response.lowercased().split(whereSeparator: \.isWhitespace)
            share = distinct(words, of: words.count - n + 1)
        case .perWord:
            let words = sample.response.split(separator: " ", omittingEmptySubsequences: false)
            share = distinct(sample.response.isEmpty ? [] : words, of: words.count)
        case .tokens:
            let ids = sample.tokens
            share = distinct(ids, of: ids.count - n + 1)
        }
        return direction == .distinct ? share : 1 - share
    }

    /// Different n-grams over `total`.
    private func distinct<Part: Hashable>(_ parts: [Part], of total: Int) -> Double {
        guard !parts.isEmpty else { return 0 }
        guard parts.count >= n else { return 1 }
        // Numbers stand for the parts: an n-gram is then a short list of integers, quick to compare.
        var numbers: [Part: Int32] = [:]
        let ids = parts.map { part in
            let next = Int32(numbers.count)
            let id = numbers[part, default: next]
            numbers[part] = id
            return id
        }
        var seen: Set<ArraySlice<Int32>> = []
        for start in 0...(ids.count - n) { seen.insert(ids[start..<start + n]) }
        return Double(seen.count) / Double(total)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.repetition", "1.0.0", Repetition.self)
}
