/// How varied a set of texts is.
///
/// Two definitions are in use; comparing across them is meaningless.
enum DistinctN {
    /// Unique n-grams / all n-grams of that order, over all texts; lower-cased, split on any white space.
    static func corpus(_ texts: [String], _ n: Int) -> Double {
        var all = 0
        var unique: Set<[Substring]> = []
        for text in texts.map({ $0.lowercased() }) {
            let grams = ngrams(text.split(whereSeparator: \.isWhitespace), n)
            all += grams.count
            unique.formUnion(grams)
        }
        return all == 0 ? 0 : Double(unique.count) / Double(all)
    }

    /// Unique n-grams / all words, whatever n; case kept, split on single spaces.
    static func perWord(_ texts: [String], _ n: Int) -> Double {
        var words = 0
        var unique: Set<[Substring]> = []
        for text in texts {
            let parts = text.split(separator: " ", omittingEmptySubsequences: false)
            words += parts.count
            unique.formUnion(ngrams(parts, n))
        }
        return words == 0 ? 0 : Double(unique.count) / Double(words)
    }

    private static func ngrams(_ words: [Substring], _ n: Int) -> [[Substring]] {
        words.count < n ? [] : (0...(words.count - n)).map { Array(words[$0..<$0 + n]) }
    }
}
