/// Which rows attend to which: packed sequences that do not see each other.
package struct AttentionLayout: Sendable, Equatable {
    /// One sequence, or one branch of several that share a prefix.
    package struct Span: Sendable, Equatable {
        /// Rows of q.
        package var queries: Range<Int>
        /// Rows of k and v, in order.
        ///
        /// Query i sees the first `keyCount - queries.count + i + 1` of them.
        package var keys: [Range<Int>]

        package init(queries: Range<Int>, keys: [Range<Int>]) {
            self.queries = queries
            self.keys = keys
        }

        var keyCount: Int { keys.reduce(0) { $0 + $1.count } }
    }

    package var spans: [Span]

    package init(spans: [Span]) { self.spans = spans }

    /// Sequences of these lengths, one after the other, each causal.
    package init(lengths: [Int]) {
        var start = 0
        spans = lengths.map { length in
            defer { start += length }
            return Span(queries: start..<start + length, keys: [start..<start + length])
        }
    }

    /// Spans that share keys, together; what adds to one row of a gradient stays in one group.
    func groups() -> [[Int]] {
        var parent = Array(spans.indices)
        func root(_ i: Int) -> Int {
            var i = i
            while parent[i] != i { i = parent[i] }
            return i
        }
        let ranges = spans.indices.flatMap { i in
            spans[i].keys.filter { !$0.isEmpty }.map { ($0, i) }
        }
        .sorted { ($0.0.lowerBound, $0.1) < ($1.0.lowerBound, $1.1) }
        var reach = Int.min
        var owner = 0
        for (range, span) in ranges {
            if range.lowerBound < reach {
                let (a, b) = (root(owner), root(span))
                parent[max(a, b)] = min(a, b)
            }
            if range.upperBound > reach {
                reach = range.upperBound
                owner = span
            }
        }
        var groups: [[Int]] = []
        var place: [Int: Int] = [:]
        for i in spans.indices {
            let r = root(i)
            if let at = place[r] {
                groups[at].append(i)
            } else {
                place[r] = groups.count
                groups.append([i])
            }
        }
        return groups
    }

    func check(queries: Int, keys: Int) {
        for span in spans {
            precondition(
                span.queries.lowerBound >= 0 && span.queries.upperBound <= queries
                    && span.keys.allSatisfy { $0.lowerBound >= 0 && $0.upperBound <= keys }
                    && span.keyCount >= span.queries.count,
                "span \(span) for \(queries) queries and \(keys) keys")
        }
    }
}

extension NN {
    /// Causal attention over packed sequences, head by head, in memory linear in the rows.
    ///
    ///     o_i = Σ_j softmax_j(s_ij) v_j,   s_ij = scale q_i · k_j,   s <- softcap tanh(s / softcap) if given
    ///
    /// Blocks with a running softmax as in Dao et al. 2022 (arXiv:2205.14135); the backward pass recomputes the
    /// scores from the saved log Σ e^s.
    ///
    /// - Parameters:
    ///   - q: `[queries, heads · dim]`.
    ///   - k, v: `[keys, kvHeads · dim]`; query head h uses head h · kvHeads / heads.
    ///   - window: a query sees its last `window` keys, itself included.
    /// - Returns: `[queries, heads · dim]`; rows outside every span are 0.
    package static func attention(
        _ q: Tensor, _ k: Tensor, _ v: Tensor, heads: Int, kvHeads: Int, layout: AttentionLayout,
        scale: Float, window: Int? = nil, softcap: Float? = nil
    ) -> Tensor {
        let dim = q.columns / heads
        precondition(
            heads % kvHeads == 0 && q.columns == heads * dim && k.columns == kvHeads * dim
                && k.shape == v.shape && q.dtype == k.dtype && q.dtype == v.dtype,
            "attention of \(q.shape), \(k.shape), \(v.shape) with \(heads)/\(kvHeads) heads")
        layout.check(queries: q.rows, keys: k.rows)
        let plan = AttentionPlan(
            layout: layout, heads: heads, kvHeads: kvHeads, dim: dim, scale: Double(scale),
            softcap: Double(softcap ?? 0), window: window ?? 0)
        let (q0, k0, v0) = (q.detach(), k.detach(), v.detach())
        let (out, lse) = plan.forward(q0, k0, v0)
        return Tape.record([q, k, v], out) { g in
            let d = plan.backward(g.dy, out, lse, q0, k0, v0)
            let type = q0.dtype
            func narrow(_ x: Tensor) -> Tensor { x.dtype == type ? x : Memory.converted(x, type) }
            g.add(0, narrow(d.q))
            g.add(1, narrow(d.k))
            g.add(2, narrow(d.v))
        }
    }
}
