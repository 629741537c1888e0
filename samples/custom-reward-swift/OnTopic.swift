import KeelPlugin

/// Prefers answers to the question that was asked, without repeated words.
///
///     score = (asked + 2 known) / 3 · fresh,   between 0 and 1
///
/// - `asked`: share of the question's content words that the answer takes up;
/// - `known`: share of the row's keywords that the answer contains; a row without them is judged by
///   `asked` alone;
/// - `fresh`: share of the answer's words that had not occurred in it before.
struct OnTopic: Reward {
    static let name = "on_topic"
    static let help = "answers that take up the question and contain the row's keywords"

    @Param("keywords", "JSON pointer of the list of words that a right answer contains.")
    var keywords = "/keywords"

    func score(_ sample: Sample) -> Double? {
        let answer = words(sample.response)
        let distinct = Set(answer)
        if answer.isEmpty { return 0 }
        let fresh = Double(distinct.count) / Double(answer.count)

        let asked = share(of: Set(words(sample.prompt)).subtracting(smallWords), in: distinct) ?? 0
        // The field is JSON text such as ["hollow", "barns"]: its words are all that matters.
        let known = sample.field(keywords).flatMap { share(of: Set(words($0)), in: distinct) }
        return (known.map { (asked + 2 * $0) / 3 } ?? asked) * fresh
    }

    /// How many of the wanted words were found; nil when none are wanted.
    private func share(of wanted: Set<String>, in found: Set<String>) -> Double? {
        wanted.isEmpty ? nil : Double(wanted.intersection(found).count) / Double(wanted.count)
    }
}

/// Words of questions that say nothing about their content.
private let smallWords = Set(
    words(
        """
        a about an and answer any are can do does explain for go helps how i in into is it kind
        know like look me most my need of on people place please question right should something
        tell that the there think this time to use usual want way what when where which why word
        would you
        """))

/// Lower-cased runs of letters and digits.
private func words(_ text: String) -> [String] {
    text.lowercased().split { !$0.isLetter && !$0.isNumber }.map(String.init)
}

/// What the host calls first.
@c(keel_plugin_v1) public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.samples.on-topic", "1.0.0", OnTopic.self)
}
