import KeelPlugin

/// Share of the response's words that begin with one letter.
struct Initial: Reward {
    static let name = "initial"
    static let help = "Share of words that begin with a letter."

    @Param("letter", "The letter, lower case.")
    var letter = "s"

    func score(_ sample: Sample) -> Double? {
        let words = sample.response.split { !$0.isLetter }
        guard !words.isEmpty else { return 0 }
        return Double(words.filter { $0.lowercased().hasPrefix(letter) }.count)
            / Double(words.count)
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("bench.initial", "1.0.0", Initial.self)
}
