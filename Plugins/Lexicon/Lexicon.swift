import KeelPlugin

/// The share of a response's words that stand in a list, less the share that stand in another.
///
///     score = (words in `words` - words in `avoid`) / all words
///
/// A word is a run of letters, digits and apostrophes; case does not count. A response without words scores 0.
struct Lexicon: Reward {
    static let name = "lexicon"
    static let help = "Share of the response's words that stand in a list."

    @Param("words", "Words that count for the response.")
    var words = ["please", "thank", "thanks", "sorry", "glad", "happy", "welcome", "help"]

    @Param("avoid", "Words that count against it.")
    var avoid: [String] = []

    private var wanted: Set<String> = []
    private var unwanted: Set<String> = []

    mutating func setup(_ call: Call) throws {
        wanted = Set(words.map { $0.lowercased() })
        unwanted = Set(avoid.map { $0.lowercased() })
        if wanted.isEmpty && unwanted.isEmpty {
            throw PluginError(
                .invalid, "words and avoid are both empty: every response would score 0")
        }
    }

    func score(_ sample: Sample) -> Double? {
        let isInWord = { (c: Character) in c.isLetter || c.isNumber || c == "'" }
        let spoken = sample.response.lowercased().split { !isInWord($0) }
        guard !spoken.isEmpty else { return 0 }
        let good = spoken.count { wanted.contains(String($0)) }
        let bad = spoken.count { unwanted.contains(String($0)) }
        return Double(good - bad) / Double(spoken.count)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? { plugin("keel.lexicon", "1.0.0", Lexicon.self) }
