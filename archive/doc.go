// Package archive keeps the log of a namespace on durable storage, for years: in segments that are never changed, each of which names
// the hash of the one before. It knows the log by a port (domain.ArchiveSource), and object stores by another (Bucket).
//
// A segment is a Parquet file of some log entries of one branch of one partition, a row a fact: what the log says byte for byte, and
// beside it columns for whoever asks questions of it. Its key is the branch and the position before its first entry, and it is
// written only if there is none of that key: so there is one that follows another, whoever writes. What is there already is compared
// with the log, and never taken for what one's own lost reply was about.
package archive
