import Glibc
import KeelPlugin

/// How unlike other texts a response is, by the cosine of their tf-idf vectors.
///
///     novelty(r) = 1 - max_d cos(v_r, v_d)      (or the mean over d, `take: mean`)
///     v_d[t] = tf(t, d) * idf(t),   tf = how often term t stands in d,   idf(t) = ln((1 + N) / (1 + df(t))) + 1
///
/// A term is a lower-cased run of letters and digits; df counts those of the N documents that hold it. What a response is
/// compared with, and the documents:
///
///     group    the other responses to the same prompt (a group of one: not applicable);  all responses of the group
///     prompt   the prompt: novelty is low for a response that copies it;                 response and prompt
///     field    the row's value at the JSON pointer `field`, or each of 256 texts of a list there (none: not applicable);
///              response and these texts
///
/// From 0 (says the same) to 1 (shares no term). A response without terms is 0: silence is not new. Sums go over the terms
/// in order of their text, so the score does not depend on the order of the group. idf and norm are those of
/// scikit-learn's TfidfVectorizer (smooth_idf, l2).
struct TfidfNovelty: GroupReward {
    static let name = "tfidf_novelty"
    static let help = "One minus the tf-idf cosine with the other responses, the prompt or a field."

    enum Against: String, CaseIterable { case group, prompt, field }
    enum Take: String, CaseIterable { case max, mean }

    @Param("against", "What a response is compared with.")
    var against = Against.group

    @Param("field", "Against a field: where its text, or list of texts, stands in the row.")
    var field = "/references"

    @Param("take", "The closest of several texts, or the mean over them.")
    var take = Take.max

    mutating func setup(_ call: Call) throws {
        if against == .field, !field.hasPrefix("/") {
            throw PluginError(
                .invalid, "field is a JSON pointer into the data set row, such as \"/references\"")
        }
    }

    func score(_ samples: [Sample]) -> [Double?] {
        guard against == .group else {
            return samples.map { sample in
                let others = compared(sample)
                return others.isEmpty
                    ? nil
                    : novelty(0, Array(1...others.count), [terms(of: sample.response)] + others)
            }
        }
        var scores = [Double?](repeating: nil, count: samples.count)
        var groups: [Int: [Int]] = [:]
        for (row, sample) in samples.enumerated() { groups[sample.group, default: []].append(row) }
        for rows in groups.values where rows.count > 1 {
            let vectors = vectors(of: rows.map { terms(of: samples[$0].response) })
            for (own, row) in rows.enumerated() {
                scores[row] = novelty(own, rows.indices.filter { $0 != own }, vectors)
            }
        }
        return scores
    }

    /// The texts that one response is compared with.
    private func compared(_ sample: Sample) -> [[String: Int]] {
        guard against == .field else { return [terms(of: sample.prompt)] }
        guard sample.field(field + "/0") != nil else {
            return sample.field(field).map { [terms(of: $0)] } ?? []
        }
        var texts: [[String: Int]] = []
        while texts.count < TfidfNovelty.mostTexts,
            let text = sample.field("\(field)/\(texts.count)")
        {
            texts.append(terms(of: text))
        }
        return texts
    }

    private func novelty(_ own: Int, _ others: [Int], _ documents: [[String: Int]]) -> Double {
        novelty(own, others, vectors(of: documents))
    }

    private func novelty(_ own: Int, _ others: [Int], _ vectors: [Vector]) -> Double {
        guard !vectors[own].isEmpty else { return 0 }
        let cosines = others.map { vectors[own].cosine(vectors[$0]) }.sorted()
        let closest =
            take == .max
            ? cosines.last ?? 0 : cosines.reduce(0, +) / Double(Swift.max(1, cosines.count))
        return Swift.max(0, 1 - closest)
    }

    /// Texts of a field that are looked at.
    private static let mostTexts = 256

    private func terms(of text: String) -> [String: Int] {
        var counts: [String: Int] = [:]
        for term in text.lowercased().split(whereSeparator: { !$0.isLetter && !$0.isNumber }) {
            counts[String(term), default: 0] += 1
        }
        return counts
    }

    private func vectors(of documents: [[String: Int]]) -> [Vector] {
        var frequency: [String: Int] = [:]
        for document in documents { for term in document.keys { frequency[term, default: 0] += 1 } }
        let inverse = frequency.mapValues {
            log(Double(1 + documents.count) / Double(1 + $0)) + 1
        }
        return documents.map { Vector($0, inverse) }
    }

    /// A document's terms, sorted, with weights of l2 norm 1.
    private struct Vector {
        var terms: [(term: String, weight: Double)]
        var isEmpty: Bool { terms.isEmpty }

        init(_ counts: [String: Int], _ inverse: [String: Double]) {
            terms = counts.sorted { $0.key < $1.key }.map {
                ($0.key, Double($0.value) * (inverse[$0.key] ?? 1))
            }
            let norm = terms.reduce(0) { $0 + $1.weight * $1.weight }.squareRoot()
            for at in terms.indices { terms[at].weight /= norm }
        }

        func cosine(_ other: Vector) -> Double {
            var (sum, i, j) = (0.0, 0, 0)
            while i < terms.count, j < other.terms.count {
                if terms[i].term == other.terms[j].term {
                    sum += terms[i].weight * other.terms[j].weight
                    i += 1
                    j += 1
                } else if terms[i].term < other.terms[j].term {
                    i += 1
                } else {
                    j += 1
                }
            }
            return sum
        }
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.tfidf_novelty", "1.0.0", TfidfNovelty.self)
}
