/// How long a row may be, and how an answer ends.
package struct LengthLimits: Sendable, Equatable {
    /// Tokens of the prompt and one answer, each answer by itself; longer answers lose their end.
    package var maxLength: Int?
    /// Tokens of the prompt; longer ones keep BOS and their end.
    package var maxPromptLength: Int?
    /// Tokens of an answer; longer ones lose their end.
    package var maxCompletionLength: Int?
    /// Every answer ends in EOS before it is cut.
    package var appendEOS: Bool

    package init(
        maxLength: Int? = nil, maxPromptLength: Int? = nil, maxCompletionLength: Int? = nil,
        appendEOS: Bool = true
    ) {
        self.maxLength = maxLength
        self.maxPromptLength = maxPromptLength
        self.maxCompletionLength = maxCompletionLength
        self.appendEOS = appendEOS
    }

    /// A text that differs when the limits do, for cache keys.
    var key: String {
        let parts = [maxLength, maxPromptLength, maxCompletionLength].map {
            $0.map(String.init) ?? "-"
        }
        return parts.joined(separator: "/") + (appendEOS ? "/eos" : "/open")
    }
}
